import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { scheduleFairly } from '#src/adapters/shared/fair-timer.ts';
import { systemClock } from '#src/adapters/system.ts';

it('lets an answer that has arrived be read before it gives up, although the process was busy past the time', async () => {
  const server = createServer((socket) => socket.on('data', () => socket.write('answer')));
  await new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('no address');
  const socket = connect(address.port, '127.0.0.1');
  await new Promise((resolve) => socket.once('connect', resolve));
  const seen: string[] = [];
  socket.on('data', () => seen.push('answer'));
  socket.write('question');
  // The server answers in this same process, so it gets a turn before the pause.
  await sleep(5);
  seen.length = 0;
  socket.write('question');
  await new Promise((resolve) => setImmediate(resolve));
  scheduleFairly(systemClock, 10, () => seen.push('given up'));
  const until = performance.now() + 50;
  while (performance.now() < until);
  await sleep(20);
  expect(seen).toEqual(['answer', 'given up']);
  socket.destroy();
  server.close();
});

it('can be cancelled, also between its time and its call', async () => {
  let called = 0;
  const cancel = scheduleFairly(systemClock, 1, () => {
    called += 1;
  });
  // The timer comes first, its call only after a look at the sockets.
  setTimeout(cancel, 1);
  await sleep(20);
  expect(called).toBe(0);
});
