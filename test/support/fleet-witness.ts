import { randomInt } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { ChallengePurpose, ChallengeService } from '#src/gen/sallyport/v1/challenge_pb.js';
import { Sensitivity } from '#src/gen/sallyport/v1/common_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { methodOf } from './api-calls.ts';
import type { Fleet } from './fleet.ts';
import { errorInfo, type GrpcClient } from './grpc-client.ts';
import { enrolledPerson, type Person } from './people.ts';
import { answer, backupCode } from './step-up.ts';
import { type WireAnswer, WireClient } from './wire-answers.ts';

/** Until all sidecars know what one of them has made durable, or only put in force: see docs/shared-state.md, at most. */
const KNOWN_MS = { durably: 2_000, 'in force': 6_500 } as const;
/** How many of the latest ends are asked for above all: those of some seconds. */
const LATEST = 60;
const PAUSE_MS = 20;
const CALL_LIMIT_MS = 6_000;
const LANES = 5;

export interface EndedSession {
  readonly id: string;
  readonly token: string;
  /** Which sidecar said so, and when it did. */
  readonly by: number;
  readonly at: number;
  readonly durable: boolean;
}

/** Signs people in and out through all sidecars, and asks for the ended ones again and again. */
export class SessionWitness {
  readonly #fleet: Fleet;
  readonly #wires: readonly WireClient[];
  readonly ended: EndedSession[] = [];
  /** Ended sessions that a sidecar called good. */
  readonly wrongYes: string[] = [];
  /** Sessions that nobody had ended and that a sidecar called bad, rather than refuse to say. */
  readonly wrongNo: string[] = [];
  good = 0;
  #running = true;

  constructor(fleet: Fleet) {
    this.#fleet = fleet;
    this.#wires = fleet.sidecars.map(
      ({ grpcAddress }) => new WireClient(grpcAddress, { 'x-sallyport-client': 'witness' }),
    );
  }

  async run(): Promise<void> {
    await Promise.all([...Array.from({ length: LANES }, (_, lane) => this.#live(lane)), this.#doubt(), this.#doubt()]);
  }

  stop(): void {
    this.#running = false;
  }

  ask(index: number, token: string): Promise<WireAnswer> {
    return this.#wire(index).call(methodOf('SessionService/ValidateSession'), { token, sensitivity: Sensitivity.LOW });
  }

  async create(index: number, subject: string) {
    const { token, session } = await this.#fleet
      .client(index)
      .unary(SessionService.method.createSession, { subject }, CALL_LIMIT_MS);
    return { subject, token, id: session?.id ?? '' };
  }

  async #live(lane: number): Promise<void> {
    const client = this.#fleet.sidecars.map((sidecar) => sidecar.client());
    for (let index = 0; this.#running; index += 1) {
      await pause(PAUSE_MS);
      const subject = `witness-${lane}-${index}`;
      const created = await client[randomInt(client.length)]
        ?.unary(SessionService.method.createSession, { subject }, CALL_LIMIT_MS)
        .catch(() => undefined);
      if (!created) continue;
      const session = { subject, token: created.token, id: created.session?.id ?? '' };
      for (let times = 0; times < 4; times += 1) {
        const by = randomInt(client.length);
        const { code, reason } = await this.ask(by, session.token);
        if (code === status.OK) this.good += 1;
        else if (code !== status.UNAVAILABLE) this.wrongNo.push(`${session.id} by sidecar ${by}: ${code} ${reason}`);
        await pause(PAUSE_MS);
      }
      await this.#end(session);
    }
  }

  /** Until somebody says that it is in force, or durable. */
  async #end({ id, subject, token }: { readonly id: string; readonly subject: string; readonly token: string }) {
    while (this.#running) {
      const by = randomInt(this.#wires.length);
      const { code, metadata } = await this.#wire(by).call(methodOf('SessionService/RevokeSession'), {
        session: { case: 'sessionId', value: id },
        subject,
      });
      const durable = code === status.OK;
      if (durable || metadata['inForce'] === 'true') {
        this.ended.push({ id, token, by, at: Date.now(), durable });
        return;
      }
      await pause(PAUSE_MS);
    }
  }

  async #doubt(): Promise<void> {
    while (this.#running) {
      await pause(5);
      // The latest ones above all.
      const among = Math.min(this.ended.length, randomInt(2) === 0 ? LATEST : this.ended.length);
      const session = among === 0 ? undefined : this.ended[this.ended.length - 1 - randomInt(among)];
      if (!session) continue;
      const index = randomInt(this.#wires.length);
      const { code, from, degraded } = await this.ask(index, session.token);
      const late = from - session.at;
      const what = session.durable ? 'durably' : 'in force';
      if (code !== status.OK || late < (index === session.by ? 0 : KNOWN_MS[what])) continue;
      this.wrongYes.push(
        `${session.id}, ended ${what} by ${session.by}, good at ${index} after ${late} ms (${degraded})`,
      );
    }
  }

  #wire(index: number): WireClient {
    const wire = this.#wires[index];
    if (!wire) throw new Error(`no sidecar ${index}`);
    return wire;
  }
}

/** Sends each backup code to two sidecars at once, for two logins, and each receipt to all three. */
export class CodeWitness {
  readonly #clients: readonly GrpcClient[];
  readonly #persons: readonly Person[];
  readonly wrongYes: string[] = [];
  approved = 0;
  redeemed = 0;
  #running = true;

  private constructor(clients: readonly GrpcClient[], persons: readonly Person[]) {
    this.#clients = clients;
    this.#persons = persons;
  }

  static async prepare(fleet: Fleet, { persons }: { readonly persons: number }): Promise<CodeWitness> {
    const clients = fleet.sidecars.map((sidecar) => sidecar.client());
    const enrolled: Person[] = [];
    for (let index = 0; index < persons; index += 1)
      enrolled.push(await enrolledPerson(fleet.client(index % clients.length), `coded-${index}`));
    return new CodeWitness(clients, enrolled);
  }

  stop(): void {
    this.#running = false;
  }

  async run(): Promise<void> {
    await Promise.all(this.#persons.map((person, index) => this.#spend(person, index)));
  }

  async #spend(person: Person, index: number): Promise<void> {
    await pause(index * 700);
    for (const code of person.backupCodes) {
      let isSpent = false;
      // Until somebody says that the code is good or bad: one that hears of nothing tries it again.
      while (this.#running && !isSpent) {
        const told = await Promise.all([this.#try(person, code, index), this.#try(person, code, index + 1)]);
        const receipts = told.flatMap(({ end, receipt }) => (end === 'approved' ? [receipt] : []));
        this.approved += receipts.length;
        if (receipts.length > 1) this.wrongYes.push(`a code of ${person.subject} was good twice`);
        for (const receipt of receipts) await this.#redeem(person, receipt, index);
        isSpent = told.some(({ end }) => end !== 'failed');
        if (isSpent && (await this.#try(person, code, index + 2)).end === 'approved')
          this.wrongYes.push(`a spent code of ${person.subject} was good`);
        await pause(150);
      }
    }
  }

  async #try(person: Person, code: string, at: number): Promise<{ readonly end: string; readonly receipt: string }> {
    const client = this.#client(at);
    const opened = await client
      .unary(
        ChallengeService.method.openChallenge,
        { subject: person.subject, purpose: ChallengePurpose.LOGIN },
        CALL_LIMIT_MS,
      )
      .catch(() => undefined);
    if (!opened?.challenge) return { end: 'failed', receipt: '' };
    return answer(client, opened.challenge.id, '', backupCode(code));
  }

  async #redeem(person: Person, receipt: string, at: number): Promise<void> {
    const once = (index: number) =>
      this.#client(index)
        .unary(SessionService.method.createSession, { subject: person.subject, receipt }, CALL_LIMIT_MS)
        .then(
          () => true,
          (error: unknown) => {
            if (errorInfo(error).code === status.INTERNAL) this.wrongYes.push(`redeeming failed: ${String(error)}`);
            return false;
          },
        );
    const told = await Promise.all([once(at), once(at + 1), once(at + 2)]);
    const good = told.filter(Boolean).length;
    this.redeemed += good;
    if (good > 1) this.wrongYes.push(`a receipt of ${person.subject} began ${good} sessions`);
  }

  #client(index: number): GrpcClient {
    const client = this.#clients[index % this.#clients.length];
    if (!client) throw new Error('no client');
    return client;
  }
}
