import { setTimeout as pause } from 'node:timers/promises';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { eventually } from './eventually.ts';
import type { Fleet } from './fleet.ts';
import { errorInfo } from './grpc-client.ts';
import { insist } from './insist.ts';
import { signIn } from './people.ts';

const BATCHES = 3;
/** How long after its end a session may still be called good elsewhere, while news may be lost (docs/shared-state.md). */
const STALE_MS = 2_000;
const ASK_AGAIN_MS = 25;

interface Doomed {
  readonly subject: string;
  readonly token: string;
  readonly sessionId: string;
}

/** Sessions of which Redis has copies, to be ended while it cannot keep up with it. */
export class DoomedSessions {
  readonly #fleet: Fleet;
  readonly #ended: readonly Doomed[];
  readonly #kept: readonly Doomed[];
  #endedAt = Number.NEGATIVE_INFINITY;

  private constructor(fleet: Fleet, ended: readonly Doomed[], kept: readonly Doomed[]) {
    this.#fleet = fleet;
    this.#ended = ended;
    this.#kept = kept;
  }

  /**
   * Half of them are there to stay. Resolves when Redis has copies, and every sidecar has them in memory. Sidecars that have
   * given up on Redis for a moment copy nothing and do not do so later, so others are made then.
   */
  static async make(fleet: Fleet, name: string, count = 12): Promise<DoomedSessions> {
    for (let batch = 1; ; batch += 1) {
      const before = await copiesIn(fleet);
      const made = await Promise.all(
        Array.from({ length: 2 * count }, async (_, number) => {
          const subject = `${name}-${batch}-${number}`;
          return { subject, ...(await insist(() => signIn(fleet.caller(number % 3), subject))) };
        }),
      );
      const enough = async () => (await copiesIn(fleet)) >= before + made.length / 2;
      try {
        await eventually('Redis has copies', enough);
      } catch (error) {
        if (batch === BATCHES) throw error;
        continue;
      }
      const doomed = new DoomedSessions(fleet, made.slice(0, count), made.slice(count));
      await Promise.all(made.flatMap((session) => [...fleet.sidecars.keys()].map((at) => doomed.#answer(at, session))));
      return doomed;
    }
  }

  /** Resolves when each end is acknowledged. */
  async end(): Promise<void> {
    await Promise.all(
      this.#ended.map(async ({ sessionId, subject }, number) => {
        const session = { case: 'sessionId' as const, value: sessionId };
        const end = () =>
          this.#fleet.caller(number % 3).unary(SessionService.method.revokeSession, { session, subject });
        const said = await reasonOf(end);
        if (said !== '') throw new Error(`${sessionId} could not be ended: ${said}`);
      }),
    );
    this.#endedAt = performance.now();
  }

  /**
   * Asks every sidecar about each; what is not as it must be, in words. Who calls an ended one good is asked again until
   * the ends are as old as this.
   */
  async wrong(staleMs = STALE_MS): Promise<readonly string[]> {
    const isSoon = () => performance.now() < this.#endedAt + staleMs;
    const ask = (sessions: readonly Doomed[], expected: string) =>
      sessions.flatMap((session) =>
        [...this.#fleet.sidecars.keys()].map(async (index) => {
          let soon = isSoon();
          let answer = await this.#answer(index, session);
          while (answer === 'good' && expected !== 'good' && soon) {
            await pause(ASK_AGAIN_MS);
            soon = isSoon();
            answer = await this.#answer(index, session);
          }
          return answer === expected ? [] : [`sidecar ${index} says ${answer} to ${session.sessionId}`];
        }),
      );
    const answers = await Promise.all([...ask(this.#ended, 'SESSION_INVALID'), ...ask(this.#kept, 'good')]);
    return answers.flat();
  }

  async #answer(index: number, { token }: Doomed): Promise<string> {
    const client = this.#fleet.caller(index);
    return (await reasonOf(() => client.unary(SessionService.method.validateSession, { token }))) || 'good';
  }
}

/** The reason of its error, or ''. */
function reasonOf(call: () => Promise<unknown>): Promise<string> {
  return insist(call).then(
    () => '',
    (error: unknown) => errorInfo(error).reason || String(error),
  );
}

/** Copies of sessions, over all servers that answer; replicas count too. */
async function copiesIn(fleet: Fleet): Promise<number> {
  const keys = await Promise.all(
    fleet.redis.servers.map((server) => server.cli('KEYS', '*:session:*').catch(() => '')),
  );
  return keys
    .join('\n')
    .split('\n')
    .filter((key) => key !== '').length;
}
