import { describe, expect, it } from 'vitest';
import { Fault } from '#src/domain/faults.ts';
import { newId } from '#src/domain/ids.ts';
import { HOUR } from '#src/domain/time.ts';
import type { EndSessions, SessionStore } from '#src/ports/session-store.ts';
import { APPLICATION, OPERATOR, sessionWorld } from '../../support/session-world.ts';

describe('reading a session', () => {
  it('finds it by its id in its realm only', async () => {
    const { sessions, signIn } = sessionWorld();
    const { session } = await signIn();
    expect(await sessions.directory.get('default', session.id)).toMatchObject({ id: session.id });
    for (const [realm, id] of [
      ['other', session.id],
      ['default', 'ses_x'],
      ['default', ''],
    ] as const) {
      await expect(sessions.directory.get(realm, id)).rejects.toMatchObject({
        kind: 'not-found',
        reason: 'SESSION_NOT_FOUND',
      });
    }
  });

  it('shows one whose time is up as ended before the sweep has come', async () => {
    const { sessions, signIn, clock } = sessionWorld();
    const { session } = await signIn();
    clock.advance(HOUR + 5_000);
    expect(await sessions.directory.get('default', session.id)).toMatchObject({
      endReason: 'IDLE',
      endedAt: session.createdAt + HOUR,
    });
  });
});

describe('listing sessions', () => {
  async function many() {
    const world = sessionWorld({ cap: 100 });
    const ids: string[] = [];
    for (let i = 0; i < 7; i++) {
      ids.unshift((await world.signIn()).session.id);
      if (i % 2 === 0) world.clock.advance(1_000);
    }
    await world.signIn({ subject: 'bob' });
    const query = { realm: 'default', subject: 'ann', includeEnded: false, pageSize: 3, pageToken: '' };
    return { ...world, ids, query };
  }

  it('goes through all of a person, newest first, each once', async () => {
    const { sessions, ids, query } = await many();
    const seen: string[] = [];
    let pageToken = '';
    do {
      const page = await sessions.directory.list({ ...query, pageToken });
      expect(page.sessions.length).toBeLessThanOrEqual(3);
      seen.push(...page.sessions.map(({ id }) => id));
      pageToken = page.nextPageToken;
    } while (pageToken !== '');
    expect(seen).toHaveLength(7);
    expect(new Set(seen)).toEqual(new Set(ids));
    expect(seen[0] === ids[0] || seen[1] === ids[0]).toBe(true);
  });

  it('leaves ended ones out unless they are asked for', async () => {
    const { sessions, ids, query } = await many();
    await sessions.directory.revokeById('default', ids[0] ?? '', 'ann', APPLICATION);
    const all = { ...query, pageSize: 0 };
    expect((await sessions.directory.list(all)).sessions).toHaveLength(6);
    expect((await sessions.directory.list({ ...all, includeEnded: true })).sessions).toHaveLength(7);
  });

  it('refuses a page token that was altered or is for another query', async () => {
    const { sessions, query } = await many();
    const { nextPageToken } = await sessions.directory.list(query);
    const refused = { kind: 'invalid', reason: 'TOKEN_INVALID' };
    const middle = Math.floor(nextPageToken.length / 2);
    const other = nextPageToken[middle] === 'A' ? 'B' : 'A';
    const altered = nextPageToken.slice(0, middle) + other + nextPageToken.slice(middle + 1);
    for (const pageToken of [altered, 'x', nextPageToken.slice(4)]) {
      await expect(sessions.directory.list({ ...query, pageToken })).rejects.toMatchObject(refused);
    }
    for (const change of [{ subject: 'bob' }, { realm: 'other' }, { includeEnded: true }]) {
      await expect(sessions.directory.list({ ...query, ...change, pageToken: nextPageToken })).rejects.toMatchObject(
        refused,
      );
    }
  });

  it('refuses a negative page size', async () => {
    const { sessions, query } = await many();
    await expect(sessions.directory.list({ ...query, pageSize: -1 })).rejects.toMatchObject({
      reason: 'FIELD_INVALID',
    });
  });
});

describe('signing out', () => {
  it('ends the session with an event, once', async () => {
    const { sessions, signIn, isGood, store, clock } = sessionWorld();
    const { token, session } = await signIn();
    const first = await sessions.directory.revokeByToken('default', token, APPLICATION);
    expect(first).toMatchObject({ endReason: 'LOGOUT', endedAt: clock.now() });
    clock.advance(5_000);
    expect(await sessions.directory.revokeByToken('default', token, APPLICATION)).toEqual(first);
    expect(await isGood(token)).toBe(false);
    const ends = store.events.filter(({ type }) => type === 'session.ended');
    expect(ends).toMatchObject([{ reason: 'LOGOUT', outcome: 'SUCCESS', sessionId: session.id, subject: 'ann' }]);
  });

  it('knows no session of an unknown or malformed token', async () => {
    const { sessions } = sessionWorld();
    for (const token of ['', 'sps_x']) {
      expect(await sessions.directory.revokeByToken('default', token, APPLICATION)).toBeUndefined();
    }
  });

  it('gives the next person on the device nothing of the session', async () => {
    const { sessions, signIn, isGood } = sessionWorld();
    const ann = await signIn();
    await sessions.directory.revokeByToken('default', ann.token, APPLICATION);
    const bob = await signIn({ subject: 'bob' });
    expect(bob.session.id).not.toBe(ann.session.id);
    expect(await isGood(ann.token)).toBe(false);
    expect(await sessions.validation.validate('default', bob.token, undefined, APPLICATION)).toMatchObject({
      session: { subject: 'bob' },
    });
  });
});

describe('revoking by id', () => {
  it('says who did it', async () => {
    const { sessions, signIn } = sessionWorld();
    const [one, two] = [await signIn(), await signIn()];
    expect(await sessions.directory.revokeById('default', one.session.id, 'ann', APPLICATION)).toMatchObject({
      endReason: 'REVOKED',
    });
    expect(await sessions.directory.revokeById('default', two.session.id, '', OPERATOR)).toMatchObject({
      endReason: 'OPERATOR',
    });
  });

  it('has the store take note of an end that somebody else made, and leaves it as it is', async () => {
    const { store, make, signIn, clock } = sessionWorld();
    const asked: EndSessions['target'][] = [];
    const sessions = make(
      over(store, {
        end: (command) => {
          asked.push(command.target);
          return store.end(command);
        },
      }),
    );
    const { session, token } = await signIn();
    const elsewhere = await make().directory.revokeById('default', session.id, '', OPERATOR);
    clock.advance(1_000);
    expect(await sessions.directory.revokeById('default', session.id, 'ann', APPLICATION)).toEqual(elsewhere);
    expect(await sessions.directory.revokeByToken('default', token, APPLICATION)).toEqual(elsewhere);
    const target = { kind: 'ids', sessionIds: [session.id], subject: 'ann' };
    expect(asked).toEqual([target, target]);
    expect(store.events.filter(({ type }) => type === 'session.ended')).toHaveLength(1);
  });

  it('leaves one whose time is up as it is', async () => {
    const { sessions, signIn, clock } = sessionWorld();
    const { session } = await signIn();
    clock.advance(HOUR + 5_000);
    expect(await sessions.directory.revokeById('default', session.id, 'ann', APPLICATION)).toMatchObject({
      endReason: 'IDLE',
      endedAt: session.createdAt + HOUR,
    });
  });

  it("does not end somebody else's session, and only operators may leave the person open", async () => {
    const { sessions, signIn, isGood } = sessionWorld();
    const { token, session } = await signIn();
    const { directory } = sessions;
    await expect(directory.revokeById('default', session.id, 'eve', APPLICATION)).rejects.toMatchObject({
      kind: 'denied',
      reason: 'NOT_OWNER',
    });
    await expect(directory.revokeById('default', session.id, '', APPLICATION)).rejects.toMatchObject({
      reason: 'FIELD_INVALID',
    });
    expect(await isGood(token)).toBe(true);
  });
});

describe('revoking while the database is away', () => {
  const away = () => new Fault('unavailable', 'STORE_UNAVAILABLE', 'postgres is away');
  const inForce = () => new Fault('unavailable', 'STORE_UNAVAILABLE', 'in force, not durable');

  it('by id ends the session of the given person although nobody can read whose it is', async () => {
    const { store, make } = sessionWorld();
    const asked: EndSessions['target'][] = [];
    const sessions = make(
      over(store, {
        read: () => Promise.reject(away()),
        end: (command) => {
          asked.push(command.target);
          return Promise.reject(inForce());
        },
      }),
    );
    const id = newId('session', new Uint8Array(16));
    await expect(sessions.directory.revokeById('default', id, 'ann', APPLICATION)).rejects.toThrow('in force');
    await expect(sessions.directory.revokeById('default', id, '', OPERATOR)).rejects.toThrow('in force');
    await expect(sessions.directory.revokeById('default', id, '', APPLICATION)).rejects.toMatchObject({
      kind: 'invalid',
    });
    await expect(sessions.directory.revokeById('default', 'no id', 'ann', APPLICATION)).rejects.toMatchObject({
      kind: 'not-found',
    });
    expect(asked).toEqual([
      { kind: 'ids', sessionIds: [id], subject: 'ann' },
      { kind: 'ids', sessionIds: [id] },
    ]);
  });

  it('by id answers with the session when the database is back in the middle', async () => {
    const { store, make, signIn } = sessionWorld();
    const { session } = await signIn();
    let reads = 0;
    const sessions = make(
      over(store, {
        read: (...query) => {
          reads += 1;
          return reads === 1 ? Promise.reject(away()) : store.read(...query);
        },
      }),
    );
    const ended = await sessions.directory.revokeById('default', session.id, 'ann', APPLICATION);
    expect(ended).toMatchObject({ id: session.id, endReason: 'REVOKED' });
  });

  it('says again that an end is not durable yet, until it is', async () => {
    const { store, make, signIn } = sessionWorld();
    const { session, token } = await signIn();
    let ends = 0;
    const sessions = make(
      over(store, {
        // In force, and without the time at which it became durable.
        findByTokenDigest: async () => ({ ...session, endReason: 'REVOKED' as const }),
        end: () => {
          ends += 1;
          return Promise.reject(inForce());
        },
      }),
    );
    await expect(sessions.directory.revokeByToken('default', token, APPLICATION)).rejects.toThrow('in force');
    await expect(sessions.directory.revokeByToken('default', token, APPLICATION)).rejects.toThrow('in force');
    expect(ends).toBe(2);
    expect(await sessions.validation.validate('default', token, undefined, APPLICATION)).toBeUndefined();
  });
});

/** The store with some of its intents in other hands. */
function over(store: SessionStore, own: Partial<SessionStore>): SessionStore {
  return new Proxy(store, {
    get(_, name) {
      const given: unknown = Reflect.get(own, name);
      const value: unknown = given ?? Reflect.get(store, name);
      return typeof value === 'function' && given === undefined ? value.bind(store) : value;
    },
  });
}

describe('revoking all sessions of a person', () => {
  it('keeps the one of the given token and those of others', async () => {
    const { sessions, signIn, isGood, store } = sessionWorld();
    const mine = [await signIn(), await signIn(), await signIn()] as const;
    const hers = await signIn({ subject: 'eve' });
    for (const { token } of mine) await isGood(token);
    expect(await sessions.directory.revokeAll('default', 'ann', mine[1].token, APPLICATION)).toBe(2);
    expect(await Promise.all(mine.map(({ token }) => isGood(token)))).toEqual([false, true, false]);
    expect(await isGood(hers.token)).toBe(true);
    expect(store.events.filter(({ type }) => type === 'session.ended')).toHaveLength(2);
    expect(await sessions.directory.revokeAll('default', 'ann', '', APPLICATION)).toBe(1);
    expect(await sessions.directory.revokeAll('default', 'ann', '', APPLICATION)).toBe(0);
  });

  it("ends nothing when the token to keep is dead or somebody else's", async () => {
    const { sessions, signIn, isGood } = sessionWorld();
    const mine = await signIn();
    const hers = await signIn({ subject: 'eve' });
    expect(await sessions.directory.revokeAll('default', 'ann', hers.token, APPLICATION)).toBeUndefined();
    expect(await sessions.directory.revokeAll('default', 'ann', 'nonsense', APPLICATION)).toBeUndefined();
    expect(await isGood(mine.token)).toBe(true);
  });
});
