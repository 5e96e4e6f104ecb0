import type { EventType } from '../domain/audit-event.ts';
import { Fault } from '../domain/faults.ts';
import { type DurationMs, SECOND } from '../domain/time.ts';
import type { Clock } from '../ports/runtime.ts';
import type { Log, RpcMetrics } from '../ports/telemetry.ts';
import type { OutageGate } from '../services/contracts.ts';
import type { Trail } from '../services/trail.ts';
import type { Protocol } from './call.ts';
import type { Endpoint } from './endpoint.ts';
import { CODE_NAMES, CODE_OK, codeOf, toFault } from './errors.ts';
import { CLIENT_HEADER, type Listener, usableRequestId } from './identity.ts';
import { endFault, LiveCall, shuttingDown } from './live-call.ts';
import type { Realms } from './mapping/common.ts';
import { Pump, type StreamSink } from './pump.ts';

export interface PipelineLimits {
  /** Streaming calls of the API open at once, over all transports. */
  readonly maxOpenStreams: number;
  /** How long the first message of a request may take to arrive. */
  readonly firstMessageMs: DurationMs;
  /** How long the reader of a stream may take nothing. */
  readonly readerStallMs: DurationMs;
  /** How long streams have for their last message when the server stops. */
  readonly shutdownGraceMs: DurationMs;
}

export interface PipelineOptions {
  readonly trail: Pick<Trail, 'draft' | 'refused'>;
  readonly realms: Realms;
  readonly outages: Pick<OutageGate, 'degraded'>;
  readonly metrics: RpcMetrics;
  readonly log: Log;
  readonly clock: Clock;
  readonly limits: PipelineLimits;
  /** Unique to this process; correlation ids begin with it. */
  readonly instanceId: string;
  /** Writes one log line per call, at level debug. */
  readonly logCalls: boolean;
}

/** Where the one answer of a unary call goes; exactly one method is called, once. */
export interface UnarySink {
  reply(message: unknown): void;
  fail(fault: Fault): void;
}

/** Health watches and reflection have places of their own, so that callers of the API cannot use them up. */
const MAX_OPEN_SERVICE_STREAMS = 128;
const SWEEP_MS = SECOND;

/**
 * What happens to every call, once for both transports: correlation id, caller, client header, role, field rules, then the
 * handler, raced against deadline and cancellation; at last metrics and log. Refusals before the handler are written to
 * the trail where the method table says so.
 */
export class Pipeline {
  readonly #options: PipelineOptions;
  readonly #live = new Set<LiveCall>();
  readonly #idle: (() => void)[] = [];
  #calls = 0;
  #apiStreams = 0;
  #serviceStreams = 0;
  #sweeping = false;
  #draining = false;

  constructor(options: PipelineOptions) {
    this.#options = options;
  }

  /** How many calls have no final status yet. */
  get liveCalls(): number {
    return this.#live.size;
  }

  /** The value of DEGRADED_HEADER as things stand; '' for none. */
  get degraded(): string {
    return this.#options.outages.degraded;
  }

  /** A call came in. Each must be settled. */
  open(endpoint: Endpoint, protocol: Protocol, listener: Listener): LiveCall {
    this.#calls += 1;
    const correlationId = `${this.#options.instanceId}-${this.#calls.toString(36)}`;
    const call = new LiveCall(endpoint, protocol, listener.anonymous(correlationId), this.#options.clock);
    this.#live.add(call);
    if (!this.#sweeping) this.#sweepLater();
    return call;
  }

  /**
   * Decides by the headers alone whether the call may go on. Throws the Fault to answer. `client` is the value of
   * x-sallyport-client, `authorization` every value of that header, `timeoutMs` what the caller gave, `requestId` the
   * value of x-request-id.
   */
  admit(
    call: LiveCall,
    listener: Listener,
    client: string | undefined,
    authorization: readonly string[],
    timeoutMs: DurationMs | undefined,
    requestId: string | undefined,
  ): void {
    const { method, kind } = call.endpoint;
    if (usableRequestId(requestId)) call.caller = listener.anonymous(requestId);
    const longest = kind === 'unary' ? method.deadlineMs : Number.POSITIVE_INFINITY;
    call.deadlineAt = call.startedAt + (timeoutMs === undefined ? longest : Math.min(timeoutMs, longest));
    if (method.access !== 'open') {
      // Calls that were on their way when the listeners closed are still answered; a stream would only be interrupted.
      if (this.#draining && kind !== 'unary') throw shuttingDown();
      if (client === undefined || client === '') {
        throw new Fault(
          'invalid',
          'CLIENT_HEADER_MISSING',
          `metadata key ${CLIENT_HEADER} is missing; send it with every call, with the name of your program as value`,
        );
      }
      if (authorization.length > 0) {
        try {
          call.caller = listener.identify(authorization, call.caller.correlationId);
        } catch (fault) {
          this.#refusal(call, 'caller.refused', fault as Fault, '');
          throw fault;
        }
      }
      if (!call.endpoint.admits(call.caller.roles)) {
        const fault = new Fault(
          'denied',
          'ROLE_MISSING',
          `the caller does not hold a role that this call needs: ${[...method.access].join(' or ') || 'none is allowed'}`,
          { metadata: { roles: [...method.access].join(',') } },
        );
        this.#refusal(call, 'caller.refused', fault, '');
        throw fault;
      }
    }
    if (kind !== 'unary') this.#countStream(call);
  }

  /** The bytes of a request message, decoded and checked. Throws the Fault to answer. */
  receive(call: LiveCall, bytes: Uint8Array, json = false): object {
    call.received = true;
    let message: object;
    try {
      message = json ? call.endpoint.decodeJson(bytes) : call.endpoint.decode(bytes);
    } catch (fault) {
      if (fault instanceof Fault) this.#requestRefusal(call, fault, undefined);
      throw fault;
    }
    try {
      call.endpoint.validate(message);
    } catch (fault) {
      if (fault instanceof Fault) this.#requestRefusal(call, fault, message);
      throw fault;
    }
    return message;
  }

  /** Runs a unary handler. Handlers that answer without waiting cost neither a promise nor a timer. */
  serveUnary(call: LiveCall, request: object, sink: UnarySink): void {
    let result: unknown;
    try {
      result = call.endpoint.handler(request, call);
    } catch (thrown) {
      sink.fail(this.toFault(call, thrown));
      return;
    }
    if (result instanceof Promise) this.#awaitReply(call, result, sink);
    else sink.reply(result);
  }

  /** Runs a streaming handler; `input` is its message, or its stream of messages. */
  serveStream(call: LiveCall, input: unknown, sink: StreamSink): Pump {
    const { clock, limits } = this.#options;
    const pump = new Pump(call, sink, {
      clock,
      stallMs: limits.readerStallMs,
      shutdownGraceMs: limits.shutdownGraceMs,
      toFault: (thrown) => this.toFault(call, thrown),
    });
    pump.start(() => call.endpoint.handler(input, call));
    return pump;
  }

  /** The final status is decided: the call is over for us. Only the first time counts. */
  settle(call: LiveCall, fault?: Fault): void {
    if (call.settled) return;
    call.settled = true;
    this.#live.delete(call);
    call.cancelDeadline?.();
    const code = fault ? codeOf(fault) : CODE_OK;
    const { metrics, clock, log, logCalls } = this.#options;
    const milliseconds = clock.monotonic() - call.startedAt;
    call.endpoint.durations.observe(call.protocol, code, milliseconds);
    if (call.counted) {
      if (call.endpoint.method.access === 'open') this.#serviceStreams -= 1;
      else this.#apiStreams -= 1;
      metrics.openStreams(-1);
    }
    if (logCalls) {
      log.debug('call', {
        procedure: call.procedure,
        protocol: call.protocol,
        caller: call.caller.name,
        correlationId: call.caller.correlationId,
        status: CODE_NAMES[code],
        reason: fault?.reason,
        milliseconds,
      });
    }
    call.onSettled?.(fault);
    if (this.#live.size === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  toFault(call: LiveCall, thrown: unknown): Fault {
    return toFault(thrown, call.procedure, call.caller.correlationId, this.#options.log);
  }

  /** From now on new streams are refused, open ones are told to end, unary calls finish. */
  drain(): void {
    this.#draining = true;
    for (const call of this.#live) if (call.endpoint.kind !== 'unary') call.end('shutdown');
  }

  /** Resolves when no call is left. */
  whenIdle(): Promise<void> {
    return this.#live.size === 0 ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve));
  }

  #awaitReply(call: LiveCall, result: Promise<unknown>, sink: UnarySink): void {
    let open = call.ended === undefined;
    const cancelTimer = open ? this.#options.clock.schedule(call.remainingMs(), () => call.end('deadline')) : () => {};
    const close = () => {
      open = false;
      call.onEnd = undefined;
      cancelTimer();
    };
    call.onEnd = (cause) => {
      close();
      sink.fail(endFault(cause));
    };
    if (!open) call.onEnd(call.ended ?? 'cancelled');
    result.then(
      (message) => {
        if (!open) return;
        close();
        sink.reply(message);
      },
      (thrown) => {
        if (!open) return;
        close();
        sink.fail(this.toFault(call, thrown));
      },
    );
  }

  #countStream(call: LiveCall): void {
    const { limits, metrics, clock } = this.#options;
    const open = call.endpoint.method.access === 'open';
    const max = open ? MAX_OPEN_SERVICE_STREAMS : limits.maxOpenStreams;
    if ((open ? this.#serviceStreams : this.#apiStreams) >= max) {
      const fault = new Fault('limited', 'LIMIT_EXCEEDED', `too many open streams: this sidecar holds ${max} at once`, {
        quota: { subject: 'streams', description: `at most ${max} open streams` },
        retryAfterMs: SECOND,
        metadata: { limit: String(max) },
      });
      this.#refusal(call, 'limit.hit', fault, '');
      throw fault;
    }
    if (open) this.#serviceStreams += 1;
    else this.#apiStreams += 1;
    call.counted = true;
    metrics.openStreams(1);
    if (call.deadlineAt !== Number.POSITIVE_INFINITY) {
      call.cancelDeadline = clock.schedule(call.remainingMs(), () => call.end('deadline'));
    }
  }

  #requestRefusal(call: LiveCall, fault: Fault, message: object | undefined): void {
    const { realms } = this.#options;
    const { realm, subject } = (message ?? {}) as { readonly realm?: unknown; readonly subject?: unknown };
    const named = realm === undefined || realm === '' ? realms.defaultRealm : realm;
    const served = typeof named === 'string' && realms.names.has(named) ? named : realms.defaultRealm;
    const nameable = typeof subject === 'string' && !fault.details.violations?.some((one) => one.field === 'subject');
    this.#refusal(call, 'request.refused', fault, served, nameable && served === named ? subject : undefined);
  }

  #refusal(call: LiveCall, type: EventType, fault: Fault, realm: string, subject?: string): void {
    if (call.endpoint.method.refusal !== 'event') return;
    const { trail } = this.#options;
    const field = fault.details.violations?.[0]?.field;
    trail.refused(
      trail.draft(type, call.caller, {
        realm,
        ...(subject ? { subject } : {}),
        outcome: 'REFUSED',
        reason: fault.reason,
        facts: { procedure: call.procedure.slice(1), ...(field ? { field } : {}) },
      }),
    );
  }

  /** Ends calls whose request does not arrive. One timer for all of them, and none while there are no calls. */
  #sweepLater(): void {
    this.#sweeping = true;
    const { clock, limits } = this.#options;
    clock.schedule(Math.min(SWEEP_MS, limits.firstMessageMs), () => {
      const now = clock.monotonic();
      for (const call of this.#live) {
        if (!call.received && now >= Math.min(call.startedAt + limits.firstMessageMs, call.deadlineAt)) {
          call.end('deadline');
        }
      }
      if (this.#live.size > 0) this.#sweepLater();
      else this.#sweeping = false;
    });
  }
}
