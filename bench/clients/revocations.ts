// How long a session that is revoked at one sidecar is still taken by another, in a process of its own. Arguments: port
// of the one, port of the other, sessions, lanes, most ms of waiting before each revocation. Prints one line of JSON.
import type { ClientHttp2Session } from 'node:http2';
import { setTimeout as pause } from 'node:timers/promises';
import { SessionService } from '../../src/gen/sallyport/v1/session_pb.js';
import { percentile } from '../row.ts';
import { call, mustCall, newConnection, UNAVAILABLE } from './http2-calls.ts';

const [portA = '', portB = '', count, lanes, spreadMs] = process.argv.slice(2);
const [a, b] = [newConnection(portA), newConnection(portB)];
const { createSession, validateSession, revokeSession } = SessionService.method;
/** Between two questions to the other sidecar. */
const ASK_EVERY_MS = 1;
const LIMIT_MS = 10_000;

/** UNAUTHENTICATED. UNAVAILABLE, of a machine that is too busy, is a verdict on nothing. */
const REFUSED = 16;

let unavailable = 0;
const sinceSent: number[] = [];
const sinceAnswered: number[] = [];

/** Whether the session is taken. */
async function takes(connection: ClientHttp2Session, token: string): Promise<boolean> {
  for (;;) {
    const { status } = await call(connection, validateSession, { token });
    if (status === 0 || status === REFUSED) return status === 0;
    if (status !== UNAVAILABLE) throw new Error(`ValidateSession was answered with status ${status}`);
    unavailable += 1;
    await pause(ASK_EVERY_MS);
  }
}

async function one(subject: string): Promise<void> {
  const { token } = await mustCall(a, createSession, { subject });
  // So that both have it where they have it at its warmest.
  for (const connection of [b, b, a])
    if (!(await takes(connection, token))) throw new Error('a new session is refused');
  await pause(Math.random() * Number(spreadMs));
  const sentAt = performance.now();
  const answered = mustCall(a, revokeSession, { session: { case: 'token', value: token } }).then(() =>
    performance.now(),
  );
  while (await takes(b, token)) {
    if (performance.now() - sentAt > LIMIT_MS) throw new Error('a revoked session is still taken after 10 s');
    await pause(ASK_EVERY_MS);
  }
  const refusedAt = performance.now();
  sinceSent.push(refusedAt - sentAt);
  sinceAnswered.push(Math.max(0, refusedAt - (await answered)));
  if (await takes(b, token)) throw new Error('a revoked session came back');
}

const waiting = Array.from({ length: Number(count) }, (_, index) => `leaver-${index}`).values();
await Promise.all(
  Array.from({ length: Number(lanes) }, async () => {
    for (const subject of waiting) await one(subject);
  }),
);
a.close();
b.close();
if (unavailable > 0) console.error(`${unavailable} calls were answered UNAVAILABLE`);
const shares = (times: readonly number[]) => ({ p50: percentile(times, 0.5), p99: percentile(times, 0.99) });
process.stdout.write(`${JSON.stringify({ sent: shares(sinceSent), answered: shares(sinceAnswered) })}\n`);
