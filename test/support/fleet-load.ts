import { randomUUID } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import { ChallengeService } from '#src/gen/sallyport/v1/challenge_pb.js';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { eventually } from './eventually.ts';
import type { Fleet } from './fleet.ts';
import { errorInfo, type GrpcClient } from './grpc-client.ts';

/** What a caller was told has happened. */
export interface Acknowledged {
  /** By request id. */
  readonly sessions: ReadonlyMap<string, { readonly id: string; readonly token: string; readonly subject: string }>;
  readonly challenges: ReadonlyMap<string, { readonly id: string; readonly subject: string }>;
  /** Ids of sessions of which a revocation was acknowledged as durable. */
  readonly ended: ReadonlySet<string>;
}

const CALL_LIMIT_MS = 8_000;
const RETRY_MS = 60;
const ACTION = { resource: 'accounts/42', action: 'transfer.create' };
/** What a caller may be told while something is away; anything else is a finding. */
const EXPECTED: ReadonlySet<number> = new Set([status.UNAVAILABLE, status.DEADLINE_EXCEEDED, status.CANCELLED]);

/**
 * Callers of all sidecars of a fleet that has MFA switched off: they sign people in, open challenges, which are grants at
 * once, and sign some out. Who hears of no success asks again with the same request id, at another sidecar.
 */
export class FleetLoad {
  readonly #fleet: Fleet;
  readonly #sessions = new Map<string, { id: string; token: string; subject: string }>();
  readonly #challenges = new Map<string, { id: string; subject: string }>();
  readonly #ended = new Set<string>();
  readonly #clients = new Map<object, GrpcClient>();
  readonly #lanes: number;
  readonly #pauseMs: number;
  /** Answers that must never be: what was said differs from what was said before. */
  readonly wrong: string[] = [];
  /** Calls that were told to come again. */
  refused = 0;
  #running = false;
  #abandoned = false;
  #rounds = 0;

  /** `pauseMs`: between the calls of one lane. */
  constructor(fleet: Fleet, options: { readonly lanes?: number; readonly pauseMs?: number } = {}) {
    this.#fleet = fleet;
    this.#lanes = options.lanes ?? 6;
    this.#pauseMs = options.pauseMs ?? 5;
  }

  get acknowledged(): Acknowledged {
    return { sessions: this.#sessions, challenges: this.#challenges, ended: this.#ended };
  }

  /** How many grants were acknowledged. */
  get granted(): number {
    return this.#sessions.size + this.#challenges.size + this.#ended.size;
  }

  /** Calls while `work` is at it, and lets calls under way come to their success: what is away has to be back then. */
  async during(work: () => Promise<void>): Promise<void> {
    this.#running = true;
    this.#abandoned = false;
    this.#rounds += 1;
    const lanes = Array.from({ length: this.#lanes }, (_, lane) => this.#run(lane));
    try {
      await work();
    } catch (error) {
      // What is away may never be back, and what went wrong is to be told.
      this.#abandoned = true;
      throw error;
    } finally {
      this.#running = false;
      await (this.#abandoned ? Promise.allSettled(lanes) : Promise.all(lanes));
    }
  }

  /** Resolves when this many more grants were acknowledged. */
  async more(count: number, limitMs = 20_000): Promise<void> {
    const target = this.granted + count;
    await eventually(`${count} more grants`, () => this.granted >= target, limitMs);
  }

  async #run(lane: number): Promise<void> {
    for (let index = lane; this.#running; index += 1) {
      const subject = `load-${this.#rounds}-${lane}-${index}`;
      await this.#session(index, subject);
      await this.#challenge(index, subject);
      await pause(this.#pauseMs);
    }
  }

  async #session(index: number, subject: string): Promise<void> {
    const requestId = randomUUID();
    const { answer: created } = await this.#insist(index, (client) =>
      client.unary(SessionService.method.createSession, { subject, requestId }, CALL_LIMIT_MS),
    );
    const session = { id: created.session?.id ?? '', token: created.token, subject };
    this.#sessions.set(requestId, session);
    if (index % 4 === 0) await this.#again(index, requestId);
    if (index % 3 === 0) await this.#end(index, session);
  }

  /** A repeat of what was answered, at another sidecar. */
  async #again(index: number, requestId: string): Promise<void> {
    const first = this.#sessions.get(requestId);
    const { answer: again } = await this.#insist(index + 1, (client) =>
      client.unary(SessionService.method.createSession, { subject: first?.subject ?? '', requestId }, CALL_LIMIT_MS),
    );
    if (again.token !== first?.token) this.wrong.push(`request ${requestId} was answered with two sessions`);
  }

  async #end(
    index: number,
    { id, token, subject }: { readonly id: string; readonly token: string; readonly subject: string },
  ): Promise<void> {
    const { client } = await this.#insist(index, (each) =>
      each.unary(
        SessionService.method.revokeSession,
        { session: { case: 'sessionId', value: id }, subject },
        CALL_LIMIT_MS,
      ),
    );
    this.#ended.add(id);
    // At the sidecar that said so there is no delay at all.
    const answer = await client.unary(SessionService.method.validateSession, { token }, CALL_LIMIT_MS).then(
      () => 'good',
      (error: unknown) => errorInfo(error).reason,
    );
    if (answer === 'good') this.wrong.push(`session ${id} is good after its end was acknowledged`);
  }

  async #challenge(index: number, subject: string): Promise<void> {
    const requestId = randomUUID();
    const { answer } = await this.#insist(index, (client) =>
      client.unary(ChallengeService.method.openChallenge, { subject, requestId, action: ACTION }, CALL_LIMIT_MS),
    );
    this.#challenges.set(requestId, { id: answer.challenge?.id ?? '', subject });
  }

  /** Until it succeeds, each time at the next sidecar. */
  async #insist<T>(from: number, call: (client: GrpcClient) => Promise<T>) {
    for (let tries = 0; ; tries += 1) {
      const client = this.#client(from + tries);
      try {
        return { answer: await call(client), client };
      } catch (error) {
        const { code, reason } = errorInfo(error);
        // A sidecar that was killed takes its clients along when it is started again.
        const isGone = code === undefined && /shut down/.test(String(error));
        if (!isGone && !EXPECTED.has(code)) this.wrong.push(`${code} ${reason} ${String(error)}`);
        this.refused += 1;
        // Nothing comes to an end while something is away: give up on it then.
        if (this.#abandoned || (!this.#running && tries > 400)) throw error;
        await pause(RETRY_MS);
      }
    }
  }

  #client(index: number): GrpcClient {
    const sidecar = this.#fleet.sidecar(index % this.#fleet.sidecars.length);
    const known = this.#clients.get(sidecar);
    if (known) return known;
    const made = sidecar.client();
    this.#clients.set(sidecar, made);
    return made;
  }
}
