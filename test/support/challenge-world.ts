import { joseReceiptTokens } from '#src/adapters/jose/receipt-tokens.ts';
import { MemorySignals } from '#src/adapters/memory/signals.ts';
import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { HmacKeyedDigest } from '#src/adapters/secrets/keyed-digest.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import { type Caller, NO_CLIENT } from '#src/domain/caller.ts';
import type { Challenge } from '#src/domain/challenge.ts';
import type { Factor } from '#src/domain/factor.ts';
import type { OutageLimits } from '#src/domain/outage.ts';
import type { Policy } from '#src/domain/policy.ts';
import { decide } from '#src/domain/policy-decision.ts';
import type { Session } from '#src/domain/session.ts';
import { DAY, HOUR, MINUTE, SECOND } from '#src/domain/time.ts';
import type { ProofClaim } from '#src/ports/challenge-store.ts';
import type { FactorStore, FreezeFactors } from '#src/ports/factor-store.ts';
import type { SigningKey, SigningKeyStore } from '#src/ports/signing-key-store.ts';
import { ChallengeEngine, type ChallengeEngineOptions } from '#src/services/challenges/challenge-engine.ts';
import { Deliveries } from '#src/services/challenges/deliveries.ts';
import type { OpenCommand } from '#src/services/challenges/open-command.ts';
import { isGuess, type Proof, type ProofChecker, type ProofVerdict } from '#src/services/challenges/proof.ts';
import { Receipts } from '#src/services/challenges/receipts.ts';
import type { DeviceLogin, SessionAuthority, TrustedDeviceAuthority } from '#src/services/contracts.ts';
import { Lanes } from '#src/services/lanes.ts';
import { RequestClaims } from '#src/services/request-claims.ts';
import { Trail } from '#src/services/trail.ts';
import { ManualClock } from './clock.ts';
import { outageWorld } from './fake-dependencies.ts';
import { MemoryAttemptStore, MemoryChallengeState, MemoryChallengeStore } from './memory-challenge-store.ts';
import { MemoryIssuedCodes } from './memory-issued-codes.ts';
import { shippedPolicy } from './policies.ts';
import { SeededRandom } from './random.ts';
import { recordedMethods } from './recorded-methods.ts';
import { RecordingAudit } from './recording-audit.ts';
import { CountingMetrics, RecordingLog } from './recording-telemetry.ts';

export const APP: Caller = { roles: new Set(['application']), name: 'grpc', correlationId: 'corr-app' };
export const OTHER_APP: Caller = { roles: new Set(['application']), name: 'mtls/other', correlationId: 'corr-other' };
export const PORTAL: Caller = { roles: new Set(['portal']), name: 'public', correlationId: 'corr-portal' };
export const GATEWAY: Caller = { roles: new Set(['gateway']), name: 'gateway', correlationId: 'corr-gateway' };
export const REALM = 'default';
export const BUDGET = { shortAttempts: 5, shortLockMs: 15 * MINUTE, hardAttempts: 100 };

/** Sessions by token, good until taken away. */
export class GivenSessions implements SessionAuthority {
  readonly byToken = new Map<string, Session>();

  async authenticate(realm: string, token: string): Promise<Session | undefined> {
    await Promise.resolve();
    const session = this.byToken.get(token);
    return session?.realm === realm ? session : undefined;
  }

  give(token: string, over: Partial<Session> = {}): Session {
    const session: Session = {
      id: `ses_${token}`,
      realm: REALM,
      subject: 'ann',
      tokenDigest: token,
      device: { ipAddress: '', userAgent: '', deviceId: '', browser: '', operatingSystem: '' },
      amr: ['pwd'],
      acr: 'aal1',
      createdAt: 0,
      lastUsedAt: 0,
      expiresAt: Number.MAX_SAFE_INTEGER,
      idleMs: HOUR,
      labels: {},
      ...over,
    };
    this.byToken.set(token, session);
    return session;
  }
}

/** Devices by token; each token has one successor. */
export class GivenDevices implements TrustedDeviceAuthority {
  readonly nextOf = new Map<string, string>();
  readonly asked: DeviceLogin[] = [];

  async use(_caller: Caller, login: DeviceLogin): ReturnType<TrustedDeviceAuthority['use']> {
    this.asked.push(login);
    await new Promise((resolve) => setImmediate(resolve));
    const nextToken = this.nextOf.get(`${login.subject} ${login.token}`);
    return nextToken === undefined ? { outcome: 'refused' } : { outcome: 'trusted', nextToken };
  }
}

/**
 * Takes the TOTP codes `right-<step>`, the backup codes `right-<id>`, `right-<digest>` by SMS, push and WebAuthn, and
 * `denied` or `not-me` by push; after a turn of the event loop.
 */
export class CountingChecker implements ProofChecker {
  evaluated = 0;
  imitated = 0;
  /** Called while a proof is being looked at. */
  meanwhile: () => void | Promise<void> = () => {};

  async isGuess(_challenge: Challenge, proof: Proof): Promise<boolean> {
    return isGuess(proof);
  }

  async check(challenge: Challenge, proof: Proof): Promise<ProofVerdict> {
    this.evaluated += 1;
    await new Promise((resolve) => setImmediate(resolve));
    await this.meanwhile();
    const offer = challenge.offers.find(({ method }) => method === proof.kind);
    if (!offer) throw new Error('a checker is asked for offered methods only');
    const { method, factorId } = offer;
    if (proof.kind === 'totp' && proof.code.startsWith('right-')) {
      const step = Number(proof.code.slice(6));
      const resynchronized = proof.nextCode !== '';
      return {
        outcome: 'right',
        claim: { kind: 'totp', factorId, step, driftSteps: 0 },
        method,
        factorId,
        resynchronized,
      };
    }
    if (proof.kind === 'backup_code' && proof.code.startsWith('right-')) {
      const codeId = proof.code.slice(6);
      return { outcome: 'right', claim: { kind: 'backup_code', factorId, codeId }, method, factorId };
    }
    return this.#sent(proof, factorId) ?? { outcome: 'wrong' };
  }

  #sent(proof: Proof, factorId: string): ProofVerdict | undefined {
    const right = (claim: ProofClaim): ProofVerdict => ({ outcome: 'right', claim, method: proof.kind, factorId });
    const digest = (text: string) => Buffer.from(text);
    if (proof.kind === 'sms' && proof.code.startsWith('right')) {
      return right({ kind: 'issued', method: 'sms', factorId, digest: digest(proof.code) });
    }
    if (proof.kind === 'webauthn' && proof.credentialJson.startsWith('right-')) {
      const signCount = Number(proof.credentialJson.slice(6));
      return right({ kind: 'webauthn', factorId, signCount, anyCounter: false });
    }
    if (proof.kind !== 'push' || proof.factorId !== factorId) return undefined;
    if (!proof.approve)
      return { outcome: 'denied', reason: proof.notMe ? 'NOT_ME' : 'DENIED', method: 'push', factorId };
    if (proof.number !== '42') return { outcome: 'denied', reason: 'NUMBER_WRONG', method: 'push', factorId };
    return right({ kind: 'issued', method: 'push', factorId, digest: digest(proof.number) });
  }

  async imitate(): Promise<void> {
    this.imitated += 1;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** What people have, as the test says. */
export class HeldFactors implements Pick<FactorStore, 'list' | 'read' | 'freeze'> {
  readonly #held: Factor[];
  readonly #events: EventDraft[];

  constructor(held: Factor[], events: EventDraft[]) {
    this.#held = held;
    this.#events = events;
  }

  async list(realm: string, subject: string): Promise<readonly Factor[]> {
    return this.#held.filter((one) => one.realm === realm && one.subject === subject);
  }

  async read(realm: string, factorId: string): Promise<Factor | undefined> {
    return this.#held.find((one) => one.realm === realm && one.id === factorId);
  }

  async freeze({ realm, subject, methods, reason, events }: FreezeFactors): Promise<number> {
    let changed = 0;
    for (const [index, one] of this.#held.entries()) {
      if (one.realm !== realm || one.subject !== subject || !methods.includes(one.method)) continue;
      if (one.freezeReason !== undefined) continue;
      this.#held[index] = { ...one, freezeReason: reason };
      changed += 1;
    }
    if (changed > 0) this.#events.push(...events);
    return changed;
  }
}

export class MemorySigningKeys implements SigningKeyStore {
  readonly keys: SigningKey[] = [];
  readonly events: EventDraft[] = [];

  async ensure(_use: string, candidate: SigningKey, events: readonly EventDraft[]): Promise<SigningKey> {
    const active = this.keys.find((key) => key.retiredAt === undefined);
    if (active) return active;
    this.keys.unshift(candidate);
    this.events.push(...events);
    return candidate;
  }

  async list(): Promise<readonly SigningKey[]> {
    return [...this.keys];
  }
}

export function factorOf(method: Factor['method'], over: Partial<Factor> = {}): Factor {
  return {
    id: `fac_${method}`,
    realm: REALM,
    subject: 'ann',
    method,
    displayName: `my ${method}`,
    state: 'ACTIVE',
    sealedSecret: new Uint8Array(),
    lastStep: -1,
    driftSteps: 0,
    replaces: '',
    createdAt: 0,
    expiresAt: 0,
    codesLeft: method === 'backup_code' ? 10 : 0,
    ...over,
  };
}

/** Writes every refusal by itself, so that a test can count them; folding has tests of its own. */
class UnfoldedTrail extends Trail {
  override refused(event: EventDraft): void {
    this.append(event).catch(() => {});
  }
}

export interface WorldOptions extends Partial<Omit<ChallengeEngineOptions, 'policy'>> {
  readonly policy?: Partial<Policy>;
  readonly seed?: string;
  /** What goes on in an outage. */
  readonly limits?: OutageLimits;
}

/** Everything about challenges on fakes, with a clock that stands still and real receipts. */
export function challengeWorld({ policy, seed = 'challenges', limits, ...options }: WorldOptions = {}) {
  const clock = new ManualClock();
  const random = new SeededRandom(seed);
  const metrics = new CountingMetrics();
  const log = new RecordingLog();
  const audit = new RecordingAudit();
  const trail = new UnfoldedTrail({ audit, clock, random, metrics, log, foldMs: MINUTE, maxFolding: 100 });
  const state = new MemoryChallengeState();
  const ring = createKeyRing(random);
  const keys = new MemorySigningKeys();
  const factors: Factor[] = [factorOf('totp'), factorOf('backup_code')];
  const sessions = new GivenSessions();
  const devices = new GivenDevices();
  const codes = new MemoryIssuedCodes();
  state.codes = codes;
  const { by: methods, registry } = recordedMethods(codes);
  const checker = new CountingChecker();
  const signals = new MemorySignals({ log });
  const box = new AesGcmSecretBox({ ring, random });
  const receiptsOver = (over: Partial<{ issuer: string; keys: SigningKeyStore }> = {}) =>
    new Receipts({
      tokens: joseReceiptTokens,
      keys,
      box,
      trail,
      clock,
      random,
      issuer: 'sallyport',
      refreshMs: 30 * SECOND,
      ...over,
    });
  const receipts = receiptsOver();
  const { dependencies, outages } = outageWorld({ trail, clock, metrics, log }, undefined, limits);
  const heldFactors = new HeldFactors(factors, state.events);
  const deliveries = new Deliveries({
    challenges: new MemoryChallengeStore(state),
    trail,
    signals,
    metrics,
    clock,
  });
  /** Another sidecar over the same stores; signals are shared, memory is not. */
  const sidecar = () =>
    new ChallengeEngine({
      options: {
        policy: shippedPolicy(policy),
        budget: BUDGET,
        maxOpenChallenges: 8,
        receiptLifeMs: 120 * SECOND,
        heartbeatMs: 10 * SECOND,
        maxStreamsPerSubject: 8,
        maxStreams: 100,
        keepMs: DAY,
        sweepMs: 5 * SECOND,
        ...options,
      },
      decide,
      challenges: new MemoryChallengeStore(state),
      attempts: new MemoryAttemptStore(state),
      factors: heldFactors,
      sessions,
      receipts,
      devices,
      methods: registry,
      deliveries,
      box,
      checker,
      signals,
      claims: new RequestClaims({ clock, digest: new HmacKeyedDigest({ ring }), ttlMs: HOUR }),
      lanes: new Lanes({ maxWaiting: 256 }),
      outages,
      trail,
      metrics,
      log,
      clock,
      random,
    });
  const engine = sidecar();
  const events = () => [...state.events, ...audit.events, ...keys.events];
  return {
    clock,
    metrics,
    log,
    audit,
    trail,
    state,
    keys,
    factors,
    sessions,
    devices,
    methods,
    deliveries,
    attempts: new MemoryAttemptStore(state),
    checker,
    signals,
    dependencies,
    outages,
    receipts,
    receiptsOver,
    sidecar,
    ...engine,
    events,
    eventTypes: () => events().map(({ type }) => type),
    /** Events of one type. */
    eventsOf: (type: EventDraft['type']) => events().filter((event) => event.type === type),
    budget: (subject = 'ann') => state.budgets.get(`${REALM}\n${subject}`),
  };
}

export type ChallengeWorld = ReturnType<typeof challengeWorld>;

export function openCommand(over: Partial<OpenCommand> = {}): OpenCommand {
  return {
    realm: REALM,
    subject: 'ann',
    sessionToken: '',
    purpose: 'action',
    action: {
      resource: 'accounts/42',
      action: 'transfer.create',
      details: new Map([
        ['amount', '900 EUR'],
        ['to', 'Eve'],
      ]),
    },
    sensitivity: 'critical',
    methods: [],
    audience: '',
    client: NO_CLIENT,
    requestId: '',
    method: undefined,
    trustedDeviceToken: '',
    language: '',
    ...over,
  };
}

export function totp(code: string, nextCode = ''): Proof {
  return { kind: 'totp', code, nextCode };
}

/** An answer from a device: approved by typing 42, denied without a number. */
export function push(number: string, over: Partial<Extract<Proof, { readonly kind: 'push' }>> = {}) {
  const approve = number !== '';
  return {
    kind: 'push',
    factorId: 'fac_push',
    number,
    approve,
    notMe: false,
    signature: new Uint8Array(64),
    ...over,
  } as const;
}

export function refOf(challenge: Challenge, sessionToken = '') {
  return { realm: challenge.realm, challengeId: challenge.id, sessionToken };
}
