import type { DeliveryStatus } from '../domain/challenge.ts';
import type { Method } from '../domain/method.ts';
import type { PushResult } from './senders.ts';

/** Structured log. Fields never carry secrets, subjects, numbers or addresses. `error` means a person must act. */
export interface Log {
  debug(message: string, fields?: Readonly<Record<string, unknown>>): void;
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
  error(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

/** `limited`: not even tried, `reason` names the limit; the others as in ports/senders.ts. */
export type PushOutcome = 'limited' | PushResult['outcome'];

/**
 * `limited`: not even tried, `reason` names the limit. `sent`, `failed` and `unknown` are the provider's first answer,
 * `delivered` and `undelivered` what it reported later.
 */
export type SmsOutcome = 'limited' | 'sent' | 'failed' | 'unknown' | 'delivered' | 'undelivered';

/** Metrics that services feed. Names and label sets are fixed in adapters/telemetry; labels are closed sets. */
export interface Metrics {
  /**
   * `sallyport_challenges_ended_total{method,state,reason}` and `sallyport_challenge_duration_seconds{method,state}`, from
   * its opening to its end.
   */
  challengeEnded(method: string, state: string, reason: string, seconds: number): void;
  /** `sallyport_proofs_total{method,result}` with result accepted, wrong, replayed, locked, denied. */
  proof(method: string, result: 'accepted' | 'wrong' | 'replayed' | 'locked' | 'denied'): void;
  /** `sallyport_session_validations_total{result,source}` with source cache or store. */
  validation(result: 'valid' | 'invalid', source: 'cache' | 'store'): void;
  /** `sallyport_sessions_ended_total{reason}` */
  sessionEnded(reason: string): void;
  /** `sallyport_audit_events_total{type,outcome}`: events that have become durable. */
  events(type: string, outcome: string, count: number): void;
  /** `sallyport_audit_events_lost_total` */
  eventsLost(count: number): void;
  /** `sallyport_audit_events_folded_total` */
  eventFolded(): void;
  /** `sallyport_risk_signals_total{signal}` */
  riskSignal(signal: string): void;
  /** `sallyport_deliveries_total{method,status,reason}`: what became of what was sent for challenges, each word of it. */
  delivery(method: Method, status: DeliveryStatus, reason: string): void;
  /** `sallyport_push_total{outcome,reason}`: what push services answered, each try by itself. */
  push(outcome: PushOutcome, reason: string): void;
  /** `sallyport_sms_total{outcome,reason}`: what became of messages; one is counted again when the provider reports. */
  sms(outcome: SmsOutcome, reason: string): void;
  /** `sallyport_sms_retries_total` */
  smsRetried(): void;
  /** `sallyport_sms_waiting`: by how much the number of messages that wait for the provider changes. */
  smsWaiting(change: 1 | -1): void;
}

/** Metrics that the transports feed. */
export interface RpcMetrics {
  /**
   * A recorder of call durations for one method and one final status, to be fetched once and kept:
   * `sallyport_rpc_server_call_duration_seconds{rpc_system_name,rpc_method,rpc_status_code,error_type}`. `method` is the
   * resolved name or `_OTHER`; `errorType` is '' unless the status is the server's own fault.
   */
  callDuration(
    system: 'grpc' | 'connectrpc',
    method: string,
    statusCode: string,
    errorType: string,
  ): (seconds: number) => void;
  /** `sallyport_rpc_server_open_streams`: by how much the number of open streaming calls changes. */
  openStreams(change: 1 | -1): void;
}

/** Metrics of what browsers and providers reach. */
export interface HttpMetrics {
  /**
   * `sallyport_public_request_duration_seconds{http_route,http_request_method,http_response_status_code}`. `route` is the
   * path of a route or `_OTHER`; status 499 is a client that went away.
   */
  httpRequest(route: string, method: string, status: string, seconds: number): void;
}
