// ValidateSession at a steady pace, in a process of its own. Arguments: port, sessions, calls per second, ms. Prints
// `going` once the load runs, and at its end one line of JSON.
import { setTimeout as pause } from 'node:timers/promises';
import { SessionService } from '../../src/gen/sallyport/v1/session_pb.js';
import { percentile } from '../row.ts';
import { call, mustCall, newConnection } from './http2-calls.ts';

const [port = '', count, perSecond, ms] = process.argv.slice(2);
const connection = newConnection(port);
const { createSession, validateSession } = SessionService.method;
const TICK_MS = 10;

const tokens: string[] = [];
for (let index = 0; index < Number(count); index += 1) {
  const { token } = await mustCall(connection, createSession, { subject: `visitor-${process.pid}-${index}` });
  await mustCall(connection, validateSession, { token });
  tokens.push(token);
}
process.stdout.write('going\n');

const times: number[] = [];
/** By status. */
const refused = new Map<number, number>();
const calls: Promise<void>[] = [];
const startedAt = performance.now();
for (let sent = 0; performance.now() - startedAt < Number(ms); ) {
  const due = ((performance.now() - startedAt) / 1000) * Number(perSecond);
  for (; sent < due; sent += 1) {
    const token = tokens[sent % tokens.length] ?? '';
    const sentAt = performance.now();
    const answered = call(connection, validateSession, { token }).then(({ status }) => {
      times.push(performance.now() - sentAt);
      if (status !== 0) refused.set(status, (refused.get(status) ?? 0) + 1);
    });
    answered.catch(() => {});
    calls.push(answered);
  }
  await pause(TICK_MS);
}
await Promise.all(calls);
connection.close();
const result = {
  p50: percentile(times, 0.5),
  p99: percentile(times, 0.99),
  max: Math.max(...times),
  calls: times.length,
  refused: Object.fromEntries(refused),
};
process.stdout.write(`${JSON.stringify(result)}\n`);
