import { connect, createServer } from 'node:net';
import { expect, it, vi } from 'vitest';
import { scheduleFairly } from '#src/adapters/shared/fair-timer.ts';
import { systemClock } from '#src/adapters/system.ts';
import { ManualClock, settle } from '../../support/clock.ts';

it('lets an answer that has arrived be read before it gives up, although the process was busy past the time', async () => {
  let said = () => {};
  const server = createServer((socket) =>
    socket.on('data', () => {
      socket.write('answer');
      said();
    }),
  );
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('no address');
  const socket = connect(address.port, '127.0.0.1');
  await new Promise((resolve) => socket.once('connect', resolve));
  const seen: string[] = [];
  socket.on('data', () => seen.push('answer'));
  const answered = new Promise<void>((resolve) => {
    said = resolve;
  });
  socket.write('question');
  // The server answers in this same process; nobody has read it yet when the pause begins.
  await answered;
  expect(seen).toEqual([]);
  scheduleFairly(systemClock, 10, () => seen.push('given up'));
  const until = performance.now() + 50;
  while (performance.now() < until);
  await vi.waitUntil(() => seen.includes('given up'), { timeout: 10_000 });
  expect(seen).toEqual(['answer', 'given up']);
  socket.destroy();
  server.close();
});

it('can be cancelled, also between its time and its call', async () => {
  const clock = new ManualClock();
  let called = 0;
  const cancel = scheduleFairly(clock, 1, () => {
    called += 1;
  });
  // The timer comes first, its call only after a look at the sockets.
  clock.advance(1);
  expect(clock.pending).toBe(0);
  cancel();
  await settle();
  expect(called).toBe(0);
});
