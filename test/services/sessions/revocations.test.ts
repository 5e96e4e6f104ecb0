import { describe, expect, it } from 'vitest';
import { DAY, SECOND } from '#src/domain/time.ts';
import type { RevocationBatch } from '#src/services/sessions/revocations.ts';
import { settle } from '../../support/clock.ts';
import { APPLICATION, sessionWorld } from '../../support/session-world.ts';

function watching(options: Parameters<typeof sessionWorld>[0] = {}) {
  const world = sessionWorld({ cap: 10_000, ...options });
  const watch = (cursor = '', realm = 'default') => {
    const abort = new AbortController();
    const stream = world.sessions.revocations.follow(realm, cursor, abort.signal);
    const next = async (): Promise<RevocationBatch> => {
      const step = await stream.next();
      if (step.done) throw new Error('the stream ended');
      return step.value;
    };
    return { next, stream, abort };
  };
  const endOne = async (realm = 'default') => {
    const { token, session } = await world.signIn({ realm });
    await world.sessions.directory.revokeByToken(realm, token, APPLICATION);
    return session.id;
  };
  return { ...world, watch, endOne };
}

function ids(batch: RevocationBatch): readonly string[] {
  return batch.revocations.map(({ sessionId }) => sessionId);
}

describe('watching revocations', () => {
  it('begins at once with a cursor, then tells what ends from now on', async () => {
    const { watch, endOne } = watching();
    await endOne();
    const { next } = watch();
    const first = await next();
    expect(first.revocations).toEqual([]);
    expect(first.cursor).not.toBe('');
    const pending = next();
    await settle();
    const id = await endOne();
    expect(await pending).toMatchObject({
      revocations: [{ sessionId: id, subject: 'ann', reason: 'LOGOUT', realm: 'default' }],
    });
  });

  it('misses nothing between two reads', async () => {
    const { watch, endOne } = watching();
    const { next } = watch();
    await next();
    const ended = [await endOne(), await endOne(), await endOne()];
    expect(ids(await next())).toEqual(ended);
  });

  it('resumes after the last cursor, without gap or repeat', async () => {
    const { watch, endOne } = watching();
    const before = watch();
    await before.next();
    await endOne();
    const { cursor } = await before.next();
    before.abort.abort();
    const missed = [await endOne(), await endOne()];
    const after = watch(cursor);
    expect(ids(await after.next())).toEqual(missed);
  });

  it('comes in bounded batches', async () => {
    const { watch, signIn, sessions } = watching();
    const { cursor } = await watch().next();
    await Promise.all(Array.from({ length: 1_200 }, () => signIn()));
    await sessions.directory.revokeAll('default', 'ann', '', APPLICATION);
    const { next } = watch(cursor);
    const sizes = [await next(), await next(), await next()].map(({ revocations }) => revocations.length);
    expect(sizes).toEqual([500, 500, 200]);
  });

  it('sends an empty batch every 15 seconds of silence, on one timer for all', async () => {
    const { watch, clock, sessions } = watching();
    const streams = Array.from({ length: 20 }, () => watch());
    for (const { next } of streams) await next();
    const beats = streams.map(({ next }) => next());
    await settle();
    expect(clock.pending).toBe(1);
    await clock.advanceSlowly(15 * SECOND, SECOND);
    for (const beat of await Promise.all(beats)) expect(beat.revocations).toEqual([]);
    expect(sessions.revocations.waiting).toBe(0);
  });

  it('finds with the heartbeat what no signal told', async () => {
    const { watch, clock, store, signIn } = watching();
    const { session } = await signIn();
    const { next } = watch();
    await next();
    const pending = next();
    await settle();
    await store.end({
      realm: 'default',
      target: { kind: 'ids', sessionIds: [session.id] },
      reason: 'REVOKED',
      now: clock.now(),
      event: { id: 'evt', type: 'session.ended', at: 0, realm: 'default', outcome: 'SUCCESS' },
    });
    await clock.advanceSlowly(15 * SECOND, SECOND);
    expect(ids(await pending)).toEqual([session.id]);
  });

  it('tells nothing of other realms', async () => {
    const { watch, endOne } = watching();
    const { next } = watch('', 'other');
    await next();
    const pending = next();
    await settle();
    await endOne();
    const id = await endOne('other');
    expect(ids(await pending)).toEqual([id]);
  });

  it('refuses cursors that were not made here or are of another realm', async () => {
    const { watch } = watching();
    const { cursor } = await watch().next();
    for (const [bad, realm] of [
      [cursor, 'other'],
      [`${cursor.slice(0, 20)}${cursor[20] === 'A' ? 'B' : 'A'}${cursor.slice(21)}`, 'default'],
      ['7', 'default'],
    ] as const) {
      await expect(watch(bad, realm).next()).rejects.toMatchObject({ kind: 'invalid', reason: 'TOKEN_INVALID' });
    }
  });

  it('says when entries after the cursor are gone, and not before', async () => {
    const { watch, endOne, clock, store } = watching();
    const { cursor: start } = await watch().next();
    await endOne();
    clock.advance(DAY);
    const { next } = watch(start);
    const { cursor: middle } = await next();
    const id = await endOne();
    await store.purge(clock.now());
    await expect(watch(start).next()).rejects.toMatchObject({ kind: 'out-of-range', reason: 'CURSOR_EXPIRED' });
    expect(ids(await watch(middle).next())).toEqual([id]);
  });

  it('takes the cursor along while sessions change and none ends', async () => {
    const { watch, signIn, clock, store } = watching();
    const { session } = await signIn();
    const label = () =>
      store.setLabels({ realm: 'default', sessionId: session.id, labels: {}, now: clock.now(), events: [] });
    const { next } = watch();
    await next();
    const pending = next();
    await settle();
    await label();
    clock.advance(15 * SECOND);
    const { cursor } = await pending;
    clock.advance(DAY);
    await store.purge(clock.now());
    expect((await watch(cursor).next()).revocations).toEqual([]);
  });

  it('refuses a cursor ahead of a log that was restored from the past', async () => {
    const ahead = watching();
    await ahead.endOne();
    const { cursor } = await ahead.watch().next();
    const { watch } = watching();
    await expect(watch(cursor).next()).rejects.toMatchObject({ reason: 'CURSOR_EXPIRED' });
  });

  it('ends with its call and leaves nothing behind', async () => {
    const { watch, clock, sessions } = watching();
    const { next, stream, abort } = watch();
    await next();
    const pending = stream.next();
    await settle();
    expect(sessions.revocations.waiting).toBe(1);
    abort.abort();
    expect(await pending).toEqual({ done: true, value: undefined });
    expect(sessions.revocations.waiting).toBe(0);
    expect(clock.pending).toBe(0);
  });
});
