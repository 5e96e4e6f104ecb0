import { Fault } from '../../domain/faults.ts';
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from '../../gen/health/v1/health_pb.js';
import { type CallContext, type Mounted, mount } from '../call.ts';
import { API_SERVICES } from '../methods.ts';

/** Health names beside those of the services: what the kubelet's probes ask for. */
export const LIVENESS = 'liveness';
export const READINESS = 'readiness';
const SERVER = '';

/**
 * grpc.health.v1.Health: Check, Watch and List for the whole server (''), `liveness`, `readiness` and each service. All
 * but liveness follow readiness; nothing serves before the first `setReady(true)`.
 */
export class HealthService {
  readonly #statuses = new Map<string, ServingStatus>();
  readonly #watchers = new Set<() => void>();
  #stopped = false;

  constructor(services: readonly string[] = API_SERVICES.map((service) => service.typeName)) {
    for (const name of [SERVER, READINESS, ...services]) this.#statuses.set(name, ServingStatus.NOT_SERVING);
    this.#statuses.set(LIVENESS, ServingStatus.SERVING);
  }

  get mounted(): Mounted {
    return mount(Health, {
      check: ({ service }) => {
        const status = this.#statuses.get(service);
        if (status === undefined) {
          throw new Fault('not-found', 'FIELD_INVALID', 'service: no health is kept under this name; see List');
        }
        return { status };
      },
      list: () => ({ statuses: Object.fromEntries([...this.#statuses].map(([name, status]) => [name, { status }])) }),
      watch: ({ service }, call) => this.#watch(service, call),
    });
  }

  setReady(ready: boolean): void {
    if (this.#stopped) return;
    this.#set(ready ? ServingStatus.SERVING : ServingStatus.NOT_SERVING);
  }

  /** The server is stopping: everything but liveness is NOT_SERVING for good, and every watch is told and ends. */
  stop(): void {
    this.#stopped = true;
    this.#set(ServingStatus.NOT_SERVING);
  }

  #set(status: ServingStatus): void {
    if (this.#statuses.get(SERVER) === status && !this.#stopped) return;
    for (const name of this.#statuses.keys()) if (name !== LIVENESS) this.#statuses.set(name, status);
    for (const changed of this.#watchers) changed();
  }

  /** The status at once, then each change. An unknown name may become known, so its watch stays. */
  async *#watch(service: string, call: CallContext): AsyncGenerator<{ status: ServingStatus }> {
    let changed = () => {};
    const notify = () => changed();
    this.#watchers.add(notify);
    call.signal.addEventListener('abort', notify, { once: true });
    try {
      let told: ServingStatus | undefined;
      for (;;) {
        const change = new Promise<void>((resolve) => {
          changed = resolve;
        });
        const status = this.#statuses.get(service) ?? ServingStatus.SERVICE_UNKNOWN;
        if (status !== told) {
          told = status;
          yield { status };
          continue;
        }
        if (this.#stopped || call.signal.aborted) return;
        await change;
      }
    } finally {
      this.#watchers.delete(notify);
    }
  }
}
