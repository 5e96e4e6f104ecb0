// The same load for each of many sidecars, in a process of its own. Arguments: ports with commas, seconds, validations
// per second of one sidecar; each second one person signs in and one signs out too. Prints `going` once the load runs, and
// at its end one line of JSON.
import type { ClientHttp2Session } from 'node:http2';
import { setTimeout as pause } from 'node:timers/promises';
import { SessionService } from '../../src/gen/sallyport/v1/session_pb.js';
import { percentile } from '../row.ts';
import { call, mustCall, newConnection } from './http2-calls.ts';

const [ports = '', seconds, validations] = process.argv.slice(2);
const { createSession, validateSession, revokeSession } = SessionService.method;
const SESSIONS = 10;

const times: number[] = [];
let [calls, refused, people] = [0, 0, 0];

async function signIn(connection: ClientHttp2Session): Promise<string> {
  people += 1;
  const { token } = await mustCall(connection, createSession, { subject: `member-${process.pid}-${people}` });
  calls += 1;
  return token;
}

async function validate(connection: ClientHttp2Session, token: string): Promise<void> {
  const sentAt = performance.now();
  const { status } = await call(connection, validateSession, { token });
  times.push(performance.now() - sentAt);
  calls += 1;
  if (status !== 0) refused += 1;
}

/** A second of one sidecar, evenly spread. */
async function second(connection: ClientHttp2Session, tokens: readonly string[]): Promise<void> {
  const begun = performance.now();
  const open: Promise<unknown>[] = [
    signIn(connection).then(async (token) => {
      await validate(connection, token);
      await mustCall(connection, revokeSession, { session: { case: 'token', value: token } });
      calls += 1;
    }),
  ];
  for (let index = 0; index < Number(validations); index += 1) {
    await pause(Math.max(0, begun + (index * 1000) / Number(validations) - performance.now()));
    open.push(validate(connection, tokens[index % tokens.length] ?? ''));
  }
  await Promise.all(open);
  await pause(Math.max(0, begun + 1000 - performance.now()));
}

const sidecars = await Promise.all(
  ports.split(',').map(async (port) => {
    const connection = newConnection(port);
    const tokens: string[] = [];
    while (tokens.length < SESSIONS) tokens.push(await signIn(connection));
    for (const token of tokens) await validate(connection, token);
    return { connection, tokens };
  }),
);
calls = 0;
times.length = 0;
process.stdout.write('going\n');
await Promise.all(
  sidecars.map(async ({ connection, tokens }, index) => {
    await pause((index * 1000) / sidecars.length);
    for (let left = Number(seconds); left > 0; left -= 1) await second(connection, tokens);
  }),
);
for (const { connection } of sidecars) connection.close();
process.stdout.write(
  `${JSON.stringify({ calls, refused, p50: percentile(times, 0.5), p99: percentile(times, 0.99) })}\n`,
);
