import type { PushDigits } from '#src/domain/push-number.ts';
import type { FactorStore } from '#src/ports/factor-store.ts';
import type { IssuedCodes } from '#src/ports/issued-codes.ts';
import type { Clock, KeyedDigest, Random, SecretBox } from '#src/ports/runtime.ts';
import type { SendLedger } from '#src/ports/send-ledger.ts';
import type { PushSender } from '#src/ports/senders.ts';
import type { Log, Metrics } from '#src/ports/telemetry.ts';
import type { Deliveries } from '../challenges/deliveries.ts';
import type { Trail } from '../trail.ts';
import type { MethodParts } from './contract.ts';
import { PushChallenges, type PushLimits } from './push-challenges.ts';
import { type PushDeviceDependencies, PushDeviceService } from './push-device-service.ts';
import { PushDispatch } from './push-dispatch.ts';
import { PushEnrollments } from './push-enrollments.ts';
import { PushNumbers } from './push-numbers.ts';
import { PushSecrets } from './push-secrets.ts';
import { PushTickets } from './push-tickets.ts';

export interface PushOptions {
  /** 6 in the `nist` profile. */
  readonly digits: PushDigits;
  readonly limits: PushLimits;
  /** Where browsers reach the public listener, without a slash at its end. */
  readonly publicUrl: string;
  /** That this sidecar serves. */
  readonly realms: readonly string[];
}

export interface PushDependencies {
  readonly options: PushOptions;
  readonly sender: PushSender;
  readonly factors: Pick<FactorStore, 'read' | 'freeze'>;
  readonly codes: IssuedCodes;
  readonly ledger: SendLedger;
  readonly deliveries: Deliveries;
  readonly box: SecretBox;
  readonly digest: KeyedDigest;
  readonly trail: Trail;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
}

/** Notifications on their way at once in one sidecar. */
const MAX_IN_FLIGHT = 200;

/** Push approval, wired together. Call `stop` before the stores are closed. */
export class Push {
  readonly parts: MethodParts;
  readonly #deps: PushDependencies;
  readonly #dispatch: PushDispatch;
  readonly #inner: Pick<PushDeviceDependencies, 'enrollments' | 'tickets' | 'numbers' | 'secrets'>;

  constructor(deps: PushDependencies) {
    this.#deps = deps;
    const { digits, limits, publicUrl, realms } = deps.options;
    const secrets = new PushSecrets(deps);
    const numbers = new PushNumbers({ ...deps, digits });
    const tickets = new PushTickets({ ...deps, realms });
    const enrollments = new PushEnrollments({ ...deps, secrets, tickets, publicUrl });
    this.#dispatch = new PushDispatch({ ...deps, secrets, maxInFlight: MAX_IN_FLIGHT });
    const challenge = new PushChallenges({ ...deps, limits, numbers, secrets, dispatch: this.#dispatch });
    this.parts = { challenge, enrollment: enrollments };
    this.#inner = { enrollments, tickets, numbers, secrets };
  }

  /** What the public listener serves. */
  devices(engine: Pick<PushDeviceDependencies, 'challenges' | 'confirmation' | 'verification'>): PushDeviceService {
    const { realms } = this.#deps.options;
    return new PushDeviceService({ ...this.#deps, ...this.#inner, ...engine, realms });
  }

  stop(): Promise<void> {
    return this.#dispatch.stop();
  }
}
