import { createKeyRing } from '#src/adapters/secrets/key-ring.ts';
import { HmacKeyedDigest } from '#src/adapters/secrets/keyed-digest.ts';
import { AesGcmSecretBox } from '#src/adapters/secrets/secret-box.ts';
import { Ceremonies } from '#src/adapters/webauthn/ceremonies.ts';
import { type Action, actionDigest } from '#src/domain/action.ts';
import type { EventDraft } from '#src/domain/audit-event.ts';
import { type Caller, NO_CLIENT } from '#src/domain/caller.ts';
import type { Challenge } from '#src/domain/challenge.ts';
import type { Factor } from '#src/domain/factor.ts';
import { newId } from '#src/domain/ids.ts';
import { MINUTE, SECOND } from '#src/domain/time.ts';
import type { ProofVerdict } from '#src/services/challenges/proof.ts';
import type { ChallengeMethod, EnrollmentMethod, EnrollmentVerdict } from '#src/services/methods/contract.ts';
import { webauthnParts } from '#src/services/methods/webauthn.ts';
import type { WebAuthnAssertionOptions } from '#src/services/methods/webauthn-assertions.ts';
import { Trail } from '#src/services/trail.ts';
import { ManualClock } from './clock.ts';
import { MemoryIssuedCodes } from './memory-issued-codes.ts';
import { SeededRandom } from './random.ts';
import { RecordingAudit } from './recording-audit.ts';
import { CountingMetrics, RecordingLog } from './recording-telemetry.ts';
import type { Bend, SoftwareAuthenticator } from './software-authenticator.ts';

export const REALM = 'shop';
export const APP: Caller = { roles: new Set(['application']), name: 'grpc', correlationId: 'corr' };
const TRANSFER: Action = { resource: 'accounts/1', action: 'transfer', details: new Map([['amount', '10']]) };

/** The WebAuthn method over codes in memory; which factors there are is what the test puts into `held`. */
export class WebAuthnWorld {
  readonly clock = new ManualClock();
  readonly random = new SeededRandom('webauthn');
  readonly audit = new RecordingAudit();
  readonly log = new RecordingLog();
  readonly codes = new MemoryIssuedCodes();
  readonly digest: HmacKeyedDigest;
  readonly box: AesGcmSecretBox;
  readonly webauthn: Ceremonies;
  readonly trail: Trail;
  readonly held: Factor[] = [];
  readonly factors = {
    list: async (realm: string, subject: string) =>
      this.held.filter((factor) => factor.realm === realm && factor.subject === subject),
  };
  readonly challenges: ChallengeMethod;
  readonly enrollment: EnrollmentMethod;

  constructor(options: Partial<WebAuthnAssertionOptions> = {}) {
    const { clock, random, audit, log, codes, factors } = this;
    const ring = createKeyRing(random);
    const [box, digest] = [new AesGcmSecretBox({ ring, random }), new HmacKeyedDigest({ ring })];
    this.box = box;
    this.digest = digest;
    this.trail = new Trail({
      audit,
      clock,
      random,
      metrics: new CountingMetrics(),
      log,
      foldMs: MINUTE,
      maxFolding: 1_000,
    });
    this.webauthn = new Ceremonies({
      rpId: 'example.com',
      rpName: 'Example',
      origins: ['https://app.example.com'],
      topOrigins: [],
    });
    const { trail, webauthn } = this;
    const { challenge, enrollment } = webauthnParts({
      options: { alwaysVerifyUser: false, acceptRegression: false, ...options },
      ...{ webauthn, codes, factors, box, digest, trail, log, clock, random },
    });
    if (!enrollment) throw new Error('WebAuthn is enrolled by itself');
    this.challenges = challenge;
    this.enrollment = enrollment;
  }

  pending(subject: string, over: Partial<Factor> = {}): Factor {
    const now = this.clock.now();
    return {
      id: newId('factor', this.random.bytes(16)),
      realm: REALM,
      subject,
      method: 'webauthn',
      displayName: 'Key',
      state: 'PENDING',
      sealedSecret: new Uint8Array(),
      lastStep: -1,
      driftSteps: 0,
      replaces: '',
      createdAt: now,
      expiresAt: now + 10 * MINUTE,
      codesLeft: 0,
      ...over,
    };
  }

  async optionsFor(factor: Factor, repeat = false): Promise<string> {
    const input = {
      displayName: '',
      accountName: 'ada@example.com',
      phoneNumber: '',
      pushSubscriptionJson: '',
      devicePublicKey: new Uint8Array(),
      language: '',
      client: NO_CLIENT,
    };
    const material = await this.enrollment.material(APP, factor, input, repeat);
    if (material.kind !== 'webauthn') throw new Error(`is ${material.kind}`);
    return material.optionsJson;
  }

  confirm(factor: Factor, credentialJson: string): Promise<EnrollmentVerdict> {
    return this.enrollment.check(factor, { kind: 'webauthn', credentialJson }, this.clock.now());
  }

  /** A factor in use, as the store would keep it. */
  async enrolled(subject: string, key: SoftwareAuthenticator, over: Partial<Factor> = {}): Promise<Factor> {
    const factor = this.pending(subject);
    const verdict = await this.confirm(factor, key.register(await this.optionsFor(factor)));
    if (verdict.outcome === 'wrong') throw new Error(verdict.description);
    return this.keep(factor, verdict, over);
  }

  keep(
    factor: Factor,
    { proof }: Extract<EnrollmentVerdict, { readonly outcome: 'right' }>,
    over: Partial<Factor> = {},
  ): Factor {
    if (proof.kind !== 'made') throw new Error(`is ${proof.kind}`);
    const { sealedSecret, uniqueDigest, signCount } = proof;
    const active: Factor = { ...factor, state: 'ACTIVE', sealedSecret, uniqueDigest, signCount, ...over };
    this.held.push(active);
    return active;
  }

  /** A challenge that offers these factors. */
  challenge(subject: string, offered: readonly Factor[], over: Partial<Challenge> = {}): Challenge {
    const now = this.clock.now();
    const action = over.action ?? TRANSFER;
    return {
      id: newId('challenge', this.random.bytes(16)),
      realm: REALM,
      subject,
      sessionId: '',
      openedBy: 'grpc',
      purpose: 'action',
      action,
      actionDigest: actionDigest(REALM, subject, action),
      sensitivity: 'sensitive',
      audience: REALM,
      state: 'PENDING',
      offers: offered.map(({ id, method, displayName }) => ({ factorId: id, method, displayName })),
      policyRule: '',
      createdAt: now,
      expiresAt: now + 60 * SECOND,
      ...over,
    };
  }

  async prompt(challenge: Challenge, factor: Factor, again = false): Promise<string> {
    const view = await this.challenges.prompt(APP, challenge, factor, again);
    return view.webauthnOptionsJson ?? '';
  }

  /** As the engine does: with the factors that the challenge offers and that are usable. */
  answer(challenge: Challenge, credentialJson: string): Promise<ProofVerdict> {
    const offered = new Set(challenge.offers.map(({ factorId }) => factorId));
    const factors = this.held.filter(
      ({ id, subject, freezeReason }) => subject === challenge.subject && offered.has(id) && !freezeReason,
    );
    return this.challenges.check(challenge, factors, { kind: 'webauthn', credentialJson }, this.clock.now());
  }

  /** Prompts and answers at once. */
  async prove(challenge: Challenge, factor: Factor, key: SoftwareAuthenticator, bend?: Bend): Promise<ProofVerdict> {
    return this.answer(challenge, key.assert(await this.prompt(challenge, factor), bend));
  }

  get regressions(): readonly EventDraft[] {
    return this.audit.events.filter(({ type }) => type === 'factor.counter_regressed');
  }

  /** Why the last assertion was refused. */
  get lastRefusal(): string | undefined {
    return this.log.lines
      .filter((line) => line.includes('was refused'))
      .map((line) => /"refusal":"(\w+)"/.exec(line)?.[1])
      .at(-1);
  }
}
