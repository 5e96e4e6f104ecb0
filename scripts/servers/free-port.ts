import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Below what systems hand out to outgoing connections (from 32768 on Linux, 49152 elsewhere). A server that was killed
 * finds its port free again, and a client that knocks on a closed port cannot be given that port and meet itself.
 */
const FIRST = 21_000;
const LAST = 32_000;
const TRIES = 200;
/** What was given here before: several are often asked for before the first is used, and two must never be the same. */
const given = new Set<number>();

/** Whether nothing listens on this loopback port now. */
export function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/**
 * A loopback port on which nothing listened a moment ago, and another one with each call in this process; whoever takes it
 * has to expect that it is gone by then.
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < TRIES; tries++) {
    const port = randomInt(FIRST, LAST);
    if (given.has(port)) continue;
    given.add(port);
    if (await isFree(port)) return port;
  }
  throw new Error(`no free loopback port between ${FIRST} and ${LAST}`);
}

/** That a server could not listen because somebody else was faster. */
export class PortTaken extends Error {
  override readonly name = 'PortTaken';
}

/**
 * Starts something on a free port, again on another one if that was taken in between.
 * @param fixed A port to insist on instead.
 */
export async function onFreePort<T>(start: (port: number) => Promise<T>, fixed?: number): Promise<T> {
  if (fixed !== undefined) return start(fixed);
  for (let tries = 1; ; tries++) {
    try {
      return await start(await freePort());
    } catch (error) {
      if (!(error instanceof PortTaken) || tries === 10) throw error;
    }
  }
}

/** Starts something again where it was: somebody's outgoing connection may hold the port for a moment. */
export async function onSamePort<T>(start: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await start();
    } catch (error) {
      if (!(error instanceof PortTaken) || tries === 100) throw error;
      await sleep(50);
    }
  }
}
