import { setTimeout as pause } from 'node:timers/promises';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { eventually } from './eventually.ts';
import type { Fleet } from './fleet.ts';
import { errorInfo } from './grpc-client.ts';
import { signIn } from './people.ts';

const TRIES = 40;
const PAUSE_MS = 200;

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

  private constructor(fleet: Fleet, ended: readonly Doomed[], kept: readonly Doomed[]) {
    this.#fleet = fleet;
    this.#ended = ended;
    this.#kept = kept;
  }

  /** Half of them are there to stay. Resolves when Redis has copies, and every sidecar has them in memory. */
  static async make(fleet: Fleet, name: string, count = 12): Promise<DoomedSessions> {
    const before = await copiesIn(fleet);
    const made = await Promise.all(
      Array.from({ length: 2 * count }, async (_, number) => {
        const subject = `${name}-${number}`;
        return { subject, ...(await signIn(fleet.client(number % 3), subject)) };
      }),
    );
    const enough = async () => (await copiesIn(fleet)) >= before + made.length / 2;
    await eventually('Redis has copies', enough);
    const doomed = new DoomedSessions(fleet, made.slice(0, count), made.slice(count));
    await Promise.all(made.flatMap((session) => [...fleet.sidecars.keys()].map((at) => doomed.#answer(at, session))));
    return doomed;
  }

  /** Resolves when each end is acknowledged. */
  async end(): Promise<void> {
    await Promise.all(
      this.#ended.map(async ({ sessionId, subject }, number) => {
        const session = { case: 'sessionId' as const, value: sessionId };
        const end = () =>
          this.#fleet.client(number % 3).unary(SessionService.method.revokeSession, { session, subject });
        const said = await insist(end);
        if (said !== '') throw new Error(`${sessionId} could not be ended: ${said}`);
      }),
    );
  }

  /** Asks every sidecar about each; what is not as it must be, in words. */
  async wrong(): Promise<readonly string[]> {
    const ask = (sessions: readonly Doomed[], expected: string) =>
      sessions.flatMap((session) =>
        [...this.#fleet.sidecars.keys()].map(async (index) => {
          const answer = await this.#answer(index, session);
          return answer === expected ? [] : [`sidecar ${index} says ${answer} to ${session.sessionId}`];
        }),
      );
    const answers = await Promise.all([...ask(this.#ended, 'SESSION_INVALID'), ...ask(this.#kept, 'good')]);
    return answers.flat();
  }

  async #answer(index: number, { token }: Doomed): Promise<string> {
    const client = this.#fleet.client(index);
    return (await insist(() => client.unary(SessionService.method.validateSession, { token }))) || 'good';
  }
}

/** The reason of its error, or ''. Who cannot tell is asked again: a database may be busy, but not for long. */
async function insist(call: () => Promise<unknown>): Promise<string> {
  for (let tries = 1; ; tries += 1) {
    const said = await call().then(
      () => '',
      (error: unknown) => errorInfo(error).reason || String(error),
    );
    if (said !== 'STORE_UNAVAILABLE' || tries === TRIES) return said;
    await pause(PAUSE_MS);
  }
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
