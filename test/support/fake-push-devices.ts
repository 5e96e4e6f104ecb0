import { type Action, actionDigest } from '#src/domain/action.ts';
import { Fault } from '#src/domain/faults.ts';
import { readSubscription } from '#src/domain/push-device.ts';
import { readDeviceKey } from '#src/domain/push-device-key.ts';
import { pushAnswerBytes, pushEnrollmentBytes, pushViewBytes } from '#src/domain/push-message.ts';
import type {
  AnswerApproval,
  ApprovalOutcome,
  ApprovalView,
  MadeDevice,
  PushDevices,
  PushVisit,
  ViewApproval,
} from '#src/services/methods/push-api.ts';

export interface FakeChallenge {
  readonly id: string;
  readonly action: Action;
  readonly number: string;
  readonly life: number;
  /** Its time begins when it is first looked at, so that a browser may take as long as it likes to get there. */
  expiresAt?: number;
  outcome?: 'approved' | 'denied' | 'reported';
}

/** Push devices in memory, with the real checks of signatures and none of the stores. */
export class FakePushDevices implements PushDevices {
  readonly #publicKey: string;
  readonly realm = 'default';
  readonly subject = 'ada';
  readonly factorId = 'fac_0123456789abcdefghjkmnpqrs';
  readonly tickets = new Set(['ticket-1']);
  readonly challenges = new Map<string, FakeChallenge>();
  readonly visits: PushVisit[] = [];
  /** Thrown by whatever is asked for next. */
  next: Error | undefined;
  /** Changes what is shown, as somebody in between would. */
  altered: Partial<ApprovalView> = {};
  device: MadeDevice | undefined;
  backupCodes: readonly string[] = [];

  constructor(publicKey: string) {
    this.#publicKey = publicKey;
  }

  async publicKey(): Promise<string> {
    return this.#publicKey;
  }

  open(id: string, details: readonly (readonly [string, string])[], number: string, life = 60_000): FakeChallenge {
    const action = { resource: 'accounts/42', action: 'transfer.create', details: new Map(details) };
    const challenge: FakeChallenge = { id, action, number, life };
    this.challenges.set(id, challenge);
    return challenge;
  }

  async enroll(visit: PushVisit, made: MadeDevice) {
    this.#begin(visit);
    if (!this.tickets.has(made.ticket)) throw new Fault('precondition', 'ENROLLMENT_EXPIRED', 'over');
    const { factorId, realm, subject } = this;
    return { factorId, realm, subject, displayName: 'Chromium', challenge: this.#enrollmentBytes(made) };
  }

  async confirm(visit: PushVisit, made: MadeDevice & { readonly signature: Uint8Array }) {
    this.#begin(visit);
    if (!this.tickets.has(made.ticket)) throw new Fault('precondition', 'ENROLLMENT_EXPIRED', 'over');
    if (!readDeviceKey(made.devicePublicKey)?.verifies(this.#enrollmentBytes(made), made.signature))
      throw new Fault('invalid', 'PROOF_REFUSED', 'no');
    this.tickets.delete(made.ticket);
    this.device = made;
    return { displayName: 'Chromium', backupCodes: this.backupCodes };
  }

  async view(visit: PushVisit, command: ViewApproval): Promise<ApprovalView | undefined> {
    this.#begin(visit);
    const challenge = this.#challenge(command);
    const signed = pushViewBytes({ ...command, issuedAt: command.at });
    if (!challenge || !this.#verifies(signed, command.signature)) return undefined;
    challenge.expiresAt ??= Date.now() + challenge.life;
    return {
      subject: this.subject,
      ...challenge.action,
      actionDigest: this.#digest(challenge),
      digits: challenge.number.length,
      expiresAt: challenge.expiresAt,
      now: Date.now(),
      ...this.altered,
    };
  }

  async answer(visit: PushVisit, command: AnswerApproval): Promise<ApprovalOutcome> {
    this.#begin(visit);
    const challenge = this.#challenge(command);
    if (!challenge) return 'refused';
    const signed = pushAnswerBytes({
      ...command,
      subject: this.subject,
      actionDigest: this.#digest(challenge),
      answer: command.approve ? 'approve' : command.notMe ? 'not_me' : 'deny',
    });
    if (!this.#verifies(signed, command.signature)) return 'refused';
    const approved = command.approve && command.number === challenge.number;
    challenge.outcome = approved ? 'approved' : command.notMe ? 'reported' : 'denied';
    return approved ? 'approved' : 'denied';
  }

  #begin(visit: PushVisit): void {
    this.visits.push(visit);
    const error = this.next;
    this.next = undefined;
    if (error) throw error;
  }

  #challenge({ challengeId, factorId, realm }: ViewApproval | AnswerApproval): FakeChallenge | undefined {
    const challenge = this.challenges.get(challengeId);
    const open = challenge?.outcome === undefined && Date.now() < (challenge?.expiresAt ?? Number.POSITIVE_INFINITY);
    return open && factorId === this.factorId && realm === this.realm ? challenge : undefined;
  }

  #digest({ action }: FakeChallenge): string {
    return actionDigest(this.realm, this.subject, action);
  }

  #verifies(bytes: Uint8Array, signature: Uint8Array): boolean {
    return this.device !== undefined && readDeviceKey(this.device.devicePublicKey)?.verifies(bytes, signature) === true;
  }

  #enrollmentBytes({ subscriptionJson, devicePublicKey }: MadeDevice): Uint8Array {
    const subscription = readSubscription(subscriptionJson);
    if ('wrong' in subscription) throw new Fault('invalid', 'FIELD_INVALID', subscription.wrong);
    const { factorId, realm, subject } = this;
    return pushEnrollmentBytes({ factorId, realm, subject, publicKey: devicePublicKey, subscription });
  }
}
