import type { HttpMetrics, Metrics, PushOutcome, RpcMetrics, SmsOutcome } from '../../ports/telemetry.ts';
import { type Cell, CounterTally, type Gauge, HistogramTally } from './tally.ts';

const PREFIX = 'sallyport_';

/** Seconds: a call over loopback is done in less than one millisecond. */
const CALL_BUCKETS = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
] as const;

/** Seconds: up to the longest life of a challenge. */
const CHALLENGE_BUCKETS = [0.5, 1, 2.5, 5, 10, 20, 30, 45, 60, 120, 300, 600] as const;

const counter = (name: string, help: string, ...labels: readonly string[]) =>
  new CounterTally({ name: PREFIX + name, help, labels });

export interface PrometheusMetricsOptions {
  readonly version: string;
  /** Seconds that the event loop is late; see EventLoopLag. */
  readonly eventLoopLag: () => number;
  /** Further values that are read when somebody asks, for instance of the audit buffer. Names without the prefix. */
  readonly gauges?: readonly Gauge[];
}

/** All metrics of the process. Names and labels are fixed here and nowhere else; no label holds a person or an address. */
export class PrometheusMetrics implements Metrics, RpcMetrics, HttpMetrics {
  readonly #calls = new HistogramTally({
    name: `${PREFIX}rpc_server_call_duration_seconds`,
    help: 'Duration of calls, from their headers to their final status.',
    labels: ['rpc_system_name', 'rpc_method', 'rpc_status_code', 'error_type'],
    bounds: CALL_BUCKETS,
  });
  readonly #publicRequests = new HistogramTally({
    name: `${PREFIX}public_request_duration_seconds`,
    help: 'Duration of requests on the public listener.',
    labels: ['http_route', 'http_request_method', 'http_response_status_code'],
    bounds: CALL_BUCKETS,
  });
  readonly #challenges = new HistogramTally({
    name: `${PREFIX}challenge_duration_seconds`,
    help: 'How long challenges took from their opening to their end, by the last method and the state.',
    labels: ['method', 'state'],
    bounds: CHALLENGE_BUCKETS,
  });
  readonly #challengesEnded = counter(
    'challenges_ended_total',
    'Challenges that ended, by the last method, the state and why.',
    'method',
    'state',
    'reason',
  );
  readonly #proofs = counter('proofs_total', 'Proofs that were looked at, by method and result.', 'method', 'result');
  readonly #validations = counter(
    'session_validations_total',
    'Session validations, by result and where the answer came from.',
    'result',
    'source',
  );
  readonly #sessionsEnded = counter('sessions_ended_total', 'Sessions that ended, by reason.', 'reason');
  readonly #events = counter('audit_events_total', 'Security events, by type and outcome.', 'type', 'outcome');
  readonly #eventsLost = counter('audit_events_lost_total', 'Refusal events that could not be written.');
  readonly #eventsFolded = counter(
    'audit_events_folded_total',
    'Refusals that were folded into an event with a count.',
  );
  readonly #riskSignals = counter('risk_signals_total', 'Hijack signals seen, by kind.', 'signal');
  readonly #deliveries = counter(
    'deliveries_total',
    'Word of what became of codes and notifications, by method, status and reason.',
    'method',
    'status',
    'reason',
  );
  readonly #push = counter('push_total', 'Answers of push services to notifications, and limits.', 'outcome', 'reason');
  readonly #sms = counter('sms_total', 'Messages by SMS, by what became of them and why.', 'outcome', 'reason');
  readonly #smsRetries = counter('sms_retries_total', 'Times that a message was tried again.');
  readonly #valid = this.#cells(this.#validations, 'valid');
  readonly #invalid = this.#cells(this.#validations, 'invalid');
  readonly #lost = this.#eventsLost.bind();
  readonly #folded = this.#eventsFolded.bind();
  readonly #gauges: readonly Gauge[];
  #openStreams = 0;
  #smsWaiting = 0;
  #render: Promise<() => Promise<string>> | undefined;

  constructor(options: PrometheusMetricsOptions) {
    const { version, eventLoopLag, gauges = [] } = options;
    const own: readonly Gauge[] = [
      {
        name: 'rpc_server_open_streams',
        help: 'Streaming calls that are open now.',
        kind: 'gauge',
        read: () => this.#openStreams,
      },
      {
        name: 'sms_waiting',
        help: 'Messages that wait for the SMS provider now.',
        kind: 'gauge',
        read: () => this.#smsWaiting,
      },
      { name: 'build_info', help: 'The version that runs.', kind: 'gauge', labels: { version }, read: () => 1 },
      {
        name: 'event_loop_lag_seconds',
        help: 'How late the event loop was, at most, over the last seconds.',
        kind: 'gauge',
        read: eventLoopLag,
      },
      ...processGauges,
      ...gauges,
    ];
    this.#gauges = own.map((gauge) => ({ ...gauge, name: PREFIX + gauge.name }));
  }

  /** All series in the Prometheus text format. */
  async render(): Promise<{ readonly contentType: string; readonly body: string }> {
    // Loaded when first asked: prom-client costs 17 MB and more start-up time than everything else.
    this.#render ??= import('./exposition.ts').then(({ exposition }) =>
      exposition({
        counters: this.counters,
        histograms: [this.#calls, this.#publicRequests, this.#challenges],
        gauges: this.#gauges,
      }),
    );
    const render = await this.#render;
    return { contentType: 'text/plain; version=0.0.4; charset=utf-8', body: await render() };
  }

  get counters(): readonly CounterTally[] {
    return [
      this.#challengesEnded,
      this.#proofs,
      this.#validations,
      this.#sessionsEnded,
      this.#events,
      this.#eventsLost,
      this.#eventsFolded,
      this.#riskSignals,
      this.#deliveries,
      this.#push,
      this.#sms,
      this.#smsRetries,
    ];
  }

  callDuration(
    system: 'grpc' | 'connectrpc',
    method: string,
    statusCode: string,
    errorType: string,
  ): (seconds: number) => void {
    const cell = this.#calls.bind(system, method, statusCode, errorType);
    return (seconds) => cell.observe(seconds);
  }

  httpRequest(route: string, method: string, status: string, seconds: number): void {
    this.#publicRequests.bind(route, method, status).observe(seconds);
  }

  openStreams(change: 1 | -1): void {
    this.#openStreams += change;
  }

  challengeEnded(method: string, state: string, reason: string, seconds: number): void {
    this.#challengesEnded.bind(method, state, reason).value += 1;
    this.#challenges.bind(method, state).observe(seconds);
  }

  proof(method: string, result: 'accepted' | 'wrong' | 'replayed' | 'locked' | 'denied'): void {
    this.#proofs.bind(method, result).value += 1;
  }

  validation(result: 'valid' | 'invalid', source: 'cache' | 'store'): void {
    const cells = result === 'valid' ? this.#valid : this.#invalid;
    cells[source].value += 1;
  }

  sessionEnded(reason: string): void {
    this.#sessionsEnded.bind(reason).value += 1;
  }

  events(type: string, outcome: string, count: number): void {
    this.#events.bind(type, outcome).value += count;
  }

  eventsLost(count: number): void {
    this.#lost.value += count;
  }

  eventFolded(): void {
    this.#folded.value += 1;
  }

  riskSignal(signal: string): void {
    this.#riskSignals.bind(signal).value += 1;
  }

  delivery(method: string, status: string, reason: string): void {
    this.#deliveries.bind(method, status, reason).value += 1;
  }

  push(outcome: PushOutcome, reason: string): void {
    this.#push.bind(outcome, reason).value += 1;
  }

  sms(outcome: SmsOutcome, reason: string): void {
    this.#sms.bind(outcome, reason).value += 1;
  }

  smsRetried(): void {
    this.#smsRetries.bind().value += 1;
  }

  smsWaiting(change: 1 | -1): void {
    this.#smsWaiting += change;
  }

  #cells(tally: CounterTally, result: string): { readonly cache: Cell; readonly store: Cell } {
    return { cache: tally.bind(result, 'cache'), store: tally.bind(result, 'store') };
  }
}

const processGauges: readonly Gauge[] = [
  {
    name: 'process_cpu_seconds_total',
    help: 'Processor time used, user and system.',
    kind: 'counter',
    read: () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1e6;
    },
  },
  {
    name: 'process_resident_memory_bytes',
    help: 'Resident memory.',
    kind: 'gauge',
    read: () => process.memoryUsage.rss(),
  },
  {
    name: 'process_heap_used_bytes',
    help: 'JavaScript heap in use on the main thread.',
    kind: 'gauge',
    read: () => process.memoryUsage().heapUsed,
  },
  {
    name: 'process_start_time_seconds',
    help: 'When the process started, in seconds since 1970.',
    kind: 'gauge',
    read: () => performance.timeOrigin / 1000,
  },
];
