import { describe, expect, it } from 'vitest';
import { SECOND } from '#src/domain/time.ts';
import { settle } from '../../support/clock.ts';
import { atOf, PushWorld, REALM, VISIT } from '../../support/push-world.ts';
import type { Said } from '../../support/software-push-device.ts';

const NUMBER = /^[1-9][0-9]$/;

/** Every other number of two digits. */
const otherThan = (number: string) => (number === '55' ? '56' : '55');

describe('a chosen device', () => {
  it('gets one notification, with what finds the challenge and nothing of it; the number is shown here', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const challenge = await world.open('ann', [ann]);
    const view = await world.prompt(challenge, ann);
    expect(view).toEqual({ method: 'push', factorId: ann.factor.id, number: expect.stringMatching(NUMBER) });
    await settle();
    const [message] = world.sender.sent;
    expect(message?.subscription).toEqual({
      endpoint: ann.device.endpoint,
      p256dh: ann.device.p256dh,
      auth: ann.device.auth,
    });
    expect(message?.ttlMs).toBeLessThanOrEqual(challenge.expiresAt - world.clock.now());
    expect(message?.ttlMs).toBeGreaterThan(0);
    expect(message?.topic).toMatch(/^[\w-]{32}$/);
    expect(world.sender.payloads()).toEqual([
      JSON.stringify({ v: 1, kind: 'approval', challenge: challenge.id, factor: ann.factor.id, realm: REALM }),
    ]);
    expect(await world.deliveryOf(challenge)).toEqual({ status: 'SENT', reason: '', resendable: true });
    expect((await world.read(challenge)).state).toBe('DELIVERED');
  });

  it('is told nothing by its payload, number, person or action, over many challenges', async () => {
    const world = new PushWorld({ limits: { maxPerWindow: 10, maxUnanswered: 50 } });
    const ann = await world.enroll('ann-the-person');
    for (let round = 0; round < 10; round++) {
      const { number } = await world.prompted(ann);
      const payload = world.sender.payloads().at(-1) ?? '';
      const { challenge: _, factor: __, ...rest } = JSON.parse(payload) as Record<string, string>;
      expect(JSON.stringify(rest)).not.toContain(number);
      for (const secret of ['ann-the-person', 'Eve', '900', 'transfer']) expect(payload).not.toContain(secret);
    }
  });

  it('is one topic for one person, so that a newer notification takes the place of an older', async () => {
    const world = new PushWorld();
    const [ann, bob] = [await world.enroll('ann'), await world.enroll('bob')];
    for (const person of [ann, ann, bob]) await world.prompted(person);
    const topics = world.sender.sent.map(({ topic }) => topic);
    expect(topics[0]).toBe(topics[1]);
    expect(topics[0]).not.toBe(topics[2]);
  });

  it('chosen again shows the same number and sends nothing', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const { challenge, number } = await world.prompted(ann);
    for (let round = 0; round < 5; round++) {
      expect((await world.prompt(challenge, ann)).number).toBe(number);
      expect((await world.prompt(challenge, ann, false, world.another())).number).toBe(number);
    }
    await settle();
    expect(world.sender.sent).toHaveLength(1);
  });

  it.each(['issued_codes', 'challenges'])(
    'gets its notification when it is chosen again after the store went away in between (%s)',
    async (table) => {
      const world = new PushWorld();
      const ann = await world.enroll('ann');
      const challenge = await world.open('ann', [ann]);
      world.sql.db.exec(`ALTER TABLE ${table} RENAME TO ${table}_away`);
      await expect(world.prompt(challenge, ann)).rejects.toThrow();
      world.sql.db.exec(`ALTER TABLE ${table}_away RENAME TO ${table}`);
      await world.prompt(challenge, ann);
      await settle();
      expect(world.sender.sent).toHaveLength(1);
      expect((await world.deliveryOf(challenge))?.status).toBe('SENT');
    },
  );

  it('chosen by many at once, in two sidecars, gets one notification; all show one number, and it is the right one', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const challenge = await world.open('ann', [ann]);
    const sidecars = [world.sidecar, world.another()];
    const views = await Promise.all(
      Array.from({ length: 20 }, (_, index) => world.prompt(challenge, ann, false, sidecars[index % 2])),
    );
    await settle();
    expect(new Set(views.map(({ number }) => number)).size).toBe(1);
    expect(world.sender.sent).toHaveLength(1);
    const at = atOf(challenge, ann);
    const reply = ann.device.reply(at, challenge, 'approve', views[0]?.number);
    expect(await world.sidecar.devices.answer(VISIT, reply)).toBe('approved');
  });

  it('shows six digits in the strict profile', async () => {
    const world = new PushWorld({ digits: 6 });
    const { number, at, challenge } = await world.prompted(await world.enroll('ann'));
    expect(number).toMatch(/^[1-9][0-9]{5}$/);
    expect(challenge.id).toBe(at.challengeId);
  });

  it('shows numbers that say nothing of one another', async () => {
    const world = new PushWorld({ limits: { maxPerWindow: 10, maxUnanswered: 50 }, digits: 6 });
    const ann = await world.enroll('ann');
    const numbers = new Set<string>();
    for (let round = 0; round < 10; round++) numbers.add((await world.prompted(ann)).number);
    expect(numbers.size).toBe(10);
  });

  it('pretended to a stranger looks the same, and nothing is made, counted or sent', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const challenge = await world.open('ann', [ann]);
    const pretended = await world.sidecar.method.pretend?.(challenge, ann.factor);
    expect(pretended).toEqual({ method: 'push', factorId: ann.factor.id, number: expect.stringMatching(NUMBER) });
    await settle();
    expect(world.sender.sent).toEqual([]);
    expect(await world.codes.read(REALM, challenge.id, 'push', world.clock.now())).toBeUndefined();
  });
});

describe('caps on notifications', () => {
  it('of fifty requests within five minutes three are delivered, however they come', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const challenges = [];
    for (let index = 0; index < 50; index++) challenges.push(await world.open('ann', [ann]));
    const sidecars = [world.sidecar, world.another()];
    const results = await Promise.allSettled(
      challenges.map((challenge, index) => world.prompt(challenge, ann, false, sidecars[index % 2])),
    );
    await settle();
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(3);
    expect(world.sender.sent).toHaveLength(3);
    for (const result of results) {
      if (result.status === 'fulfilled') continue;
      expect(result.reason).toMatchObject({ kind: 'limited', reason: 'LIMIT_EXCEEDED' });
      expect(result.reason.details.quota.subject).toBe('push_per_window');
      expect(result.reason.details.retryAfterMs).toBeLessThan(301 * SECOND);
    }
    expect(world.metrics.count('push', 'limited', 'push_per_window')).toBe(47);
    expect(world.eventsOf('limit.hit')[0]).toMatchObject({ subject: 'ann', facts: { limit: 'push_per_window' } });
  });

  it('count what is asked for again, and over all devices of the person; another person has caps of their own', async () => {
    const world = new PushWorld();
    const [one, two, bob] = [await world.enroll('ann'), await world.enroll('ann'), await world.enroll('bob')];
    const challenge = await world.open('ann', [one, two]);
    await world.prompt(challenge, one);
    await world.prompt(challenge, one, true);
    await world.prompt(challenge, two);
    for (const [device, again] of [
      [one, true],
      [two, true],
    ] as const)
      await expect(world.prompt(challenge, device, again)).rejects.toMatchObject({ reason: 'LIMIT_EXCEEDED' });
    await settle();
    expect(world.sender.sent).toHaveLength(3);
    await world.prompted(bob);
    world.clock.advance(301 * SECOND);
    await world.prompted(one);
    expect(world.sender.sent).toHaveLength(5);
  });

  it('let ten go unanswered, then push rests for a day; an approval begins anew, a denial does not', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const sendAll = async (count: number) => {
      let last = await world.prompted(ann);
      for (let index = 1; index < count; index++) {
        world.clock.advance(301 * SECOND);
        last = await world.prompted(ann);
      }
      return last;
    };
    const { challenge, at, number } = await sendAll(9);
    await world.sidecar.devices.answer(VISIT, ann.device.reply(at, challenge, 'approve', number));
    world.clock.advance(301 * SECOND);
    const denied = await sendAll(10);
    await world.sidecar.devices.answer(VISIT, ann.device.reply(denied.at, denied.challenge, 'deny'));
    world.clock.advance(301 * SECOND);
    await expect(world.prompted(ann)).rejects.toMatchObject({
      reason: 'LIMIT_EXCEEDED',
      details: { quota: { subject: 'push_unanswered' } },
    });
    expect(world.sender.sent).toHaveLength(19);
    world.passDay();
    await world.prompted(ann);
    expect(world.sender.sent).toHaveLength(20);
  });
});

describe('an approval', () => {
  it('needs the number that is shown here, signed by the device it was sent to', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const { challenge, number, at } = await world.prompted(ann);
    const view = await world.sidecar.devices.view(VISIT, ann.device.look(at, world.clock.now()));
    expect(view).toMatchObject({ subject: 'ann', actionDigest: challenge.actionDigest, digits: 2 });
    if (!view) return;
    expect(await world.sidecar.devices.answer(VISIT, ann.device.reply(at, view, 'approve', number))).toBe('approved');
    expect(await world.read(challenge)).toMatchObject({
      state: 'APPROVED',
      provenMethod: 'push',
      provenFactorId: at.factorId,
    });
    expect(world.eventsOf('challenge.approved')).toHaveLength(1);
  });

  it.each([
    ['no', () => ''],
    ['a wrong', otherThan],
    ['a padded', (number: string) => ` ${number}`],
    ['a longer', (number: string) => `${number}0`],
  ])('with %s number denies, once and for all', async (_, bend) => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const { challenge, number, at } = await world.prompted(ann);
    const { answer } = world.sidecar.devices;
    const devices = world.sidecar.devices;
    expect(await answer.call(devices, VISIT, ann.device.reply(at, challenge, 'approve', bend(number)))).toBe('denied');
    expect((await world.read(challenge)).state).toBe('DENIED');
    expect(world.eventsOf('challenge.denied')[0]).toMatchObject({ reason: 'NUMBER_WRONG', factorId: at.factorId });
    expect(await devices.answer(VISIT, ann.device.reply(at, challenge, 'approve', number))).toBe('refused');
    expect((await world.read(challenge)).state).toBe('DENIED');
  });

  it('with the number of another challenge denies', async () => {
    const world = new PushWorld({ digits: 6 });
    const ann = await world.enroll('ann');
    const [older, newer] = [await world.prompted(ann), await world.prompted(ann)];
    const reply = ann.device.reply(newer.at, newer.challenge, 'approve', older.number);
    expect(await world.sidecar.devices.answer(VISIT, reply)).toBe('denied');
  });

  it('guesses once for each challenge, and each guess costs an attempt of the person', async () => {
    const world = new PushWorld({ limits: { maxPerWindow: 10, maxUnanswered: 50 } });
    const ann = await world.enroll('ann');
    for (let round = 1; round <= 5; round++) {
      const { challenge, number, at } = await world.prompted(ann);
      await world.sidecar.devices.answer(VISIT, ann.device.reply(at, challenge, 'approve', otherThan(number)));
      expect(await world.failures('ann')).toBe(round);
    }
    const { challenge, number, at } = await world.prompted(ann);
    expect(await world.sidecar.devices.answer(VISIT, ann.device.reply(at, challenge, 'approve', number))).toBe(
      'refused',
    );
    expect((await world.read(challenge)).state).not.toBe('APPROVED');
  });

  const bent: readonly (readonly [string, (said: Said) => Partial<Said>])[] = [
    ['another challenge', () => ({ challengeId: 'chl_00000000000000000000000000' })],
    ['another factor', () => ({ factorId: 'fac_00000000000000000000000000' })],
    ['another realm', () => ({ realm: 'bank' })],
    ['another person', () => ({ subject: 'bob' })],
    ['another action', () => ({ actionDigest: `sha-256:${'x'.repeat(43)}` })],
    ['another number', ({ number }) => ({ number: otherThan(number) })],
    ['no number', () => ({ number: '' })],
    ['a denial', () => ({ answer: 'deny' })],
    ['a report', () => ({ answer: 'not_me' })],
    ['challenge and factor swapped', ({ challengeId, factorId }) => ({ challengeId: factorId, factorId: challengeId })],
    ['realm and person run together', ({ realm, subject }) => ({ realm: `${realm}${subject}`, subject: '' })],
  ];
  it.each(bent)('signed over %s is refused, ends nothing and costs nobody an attempt', async (_, bend) => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const { challenge, number, at } = await world.prompted(ann);
    const said = { ...at, subject: 'ann', actionDigest: challenge.actionDigest, number, answer: 'approve' };
    const signature = ann.device.says({ ...said, ...bend(said) });
    const reply = { ...ann.device.reply(at, challenge, 'approve', number), signature };
    expect(await world.sidecar.devices.answer(VISIT, reply)).toBe('refused');
    expect((await world.read(challenge)).state).toBe('DELIVERED');
    expect(await world.failures('ann')).toBe(0);
    expect(world.eventsOf('challenge.refused')).toHaveLength(1);
    // What was refused has spoilt nothing.
    expect(await world.sidecar.devices.answer(VISIT, ann.device.reply(at, challenge, 'approve', number))).toBe(
      'approved',
    );
  });

  it('without a signature, with half of one or with bytes of chance is refused', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const { challenge, number, at } = await world.prompted(ann);
    const reply = ann.device.reply(at, challenge, 'approve', number);
    for (const signature of [
      new Uint8Array(),
      reply.signature.subarray(0, 32),
      new Uint8Array(64),
      world.random.bytes(64),
    ])
      expect(await world.sidecar.devices.answer(VISIT, { ...reply, signature })).toBe('refused');
    expect((await world.read(challenge)).state).toBe('DELIVERED');
  });

  it('that nobody of the person has signed writes nothing and keeps the person from nothing, however often it comes', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const { challenge, number, at } = await world.prompted(ann);
    const written = () => world.sql.db.prepare('SELECT COUNT(*) AS n FROM request_claims').get();
    const before = written();
    const reply = ann.device.reply(at, challenge, 'approve', number);
    const flood = Array.from({ length: 1_000 }, (_, index) => {
      const approve = index % 2 === 0;
      return { ...reply, approve, notMe: index % 4 === 1, signature: world.random.bytes(64) };
    });
    const answers = flood.map((one) => world.sidecar.devices.answer(VISIT, one));
    expect(await world.sidecar.devices.answer(VISIT, reply)).toBe('approved');
    expect(new Set(await Promise.all(answers))).toEqual(new Set(['refused']));
    await settle();
    expect(written()).toEqual({ n: (before as { n: number }).n + 1 });
    expect(world.eventsOf('challenge.refused')).toHaveLength(1);
  });

  it('that denies and approves in one is refused', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const { challenge, number, at } = await world.prompted(ann);
    for (const answer of ['approve', 'not_me'] as const) {
      const reply = { ...ann.device.reply(at, challenge, answer, number), approve: true, notMe: true };
      expect(await world.sidecar.devices.answer(VISIT, reply)).toBe('refused');
    }
  });

  it('sent again by the same bytes gets the first answer; the same bytes for another challenge get nothing', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const { challenge, number, at } = await world.prompted(ann);
    const reply = ann.device.reply(at, challenge, 'approve', number);
    const devices = world.sidecar.devices;
    expect(await devices.answer(VISIT, reply)).toBe('approved');
    expect(await devices.answer(VISIT, reply)).toBe('approved');
    expect(await world.another().devices.answer(VISIT, reply)).toBe('approved');
    expect(world.eventsOf('challenge.approved')).toHaveLength(1);
    const other = await world.prompted(ann);
    expect(await devices.answer(VISIT, { ...reply, challengeId: other.challenge.id })).toBe('refused');
    expect((await world.read(other.challenge)).state).toBe('DELIVERED');
  });

  it('satisfies exactly its own challenge', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const [one, two] = [await world.prompted(ann), await world.prompted(ann)];
    await world.sidecar.devices.answer(VISIT, ann.device.reply(two.at, two.challenge, 'approve', two.number));
    expect((await world.read(one.challenge)).state).toBe('DELIVERED');
    expect((await world.read(two.challenge)).state).toBe('APPROVED');
  });

  it('comes too late once the time is up', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const { challenge, number, at } = await world.prompted(ann);
    world.clock.advance(60 * SECOND);
    expect(await world.sidecar.devices.answer(VISIT, ann.device.reply(at, challenge, 'approve', number))).toBe(
      'refused',
    );
    expect((await world.read(challenge)).state).toBe('EXPIRED');
  });

  it('fired fifty times at once from two sidecars happens once', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const { challenge, number, at } = await world.prompted(ann);
    const sidecars = [world.sidecar, world.another()];
    await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        sidecars[index % 2]?.devices.answer(VISIT, ann.device.reply(at, challenge, 'approve', number)),
      ),
    );
    expect(world.eventsOf('challenge.approved')).toHaveLength(1);
  });
});

describe('who may answer', () => {
  it('is the device that it was sent to: not another of the same person, unless that is chosen', async () => {
    const world = new PushWorld();
    const [one, two] = [await world.enroll('ann'), await world.enroll('ann')];
    const challenge = await world.open('ann', [one, two]);
    const { number } = await world.prompt(challenge, one);
    const devices = world.sidecar.devices;
    const second = atOf(challenge, two);
    expect(await devices.view(VISIT, two.device.look(second, world.clock.now()))).toBeUndefined();
    for (const answer of ['approve', 'deny', 'not_me'] as const)
      expect(await devices.answer(VISIT, two.device.reply(second, challenge, answer, number))).toBe('refused');
    const chosen = await world.prompt(challenge, two);
    expect(await devices.answer(VISIT, one.device.reply(atOf(challenge, one), challenge, 'approve', number))).toBe(
      'refused',
    );
    expect(await devices.answer(VISIT, two.device.reply(second, challenge, 'approve', chosen.number))).toBe('approved');
  });

  it('is nobody before it was sent, whatever the challenge offers', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const challenge = await world.open('ann', [ann]);
    const { number } = (await world.sidecar.method.pretend?.(challenge, ann.factor)) ?? {};
    for (const answer of ['approve', 'deny', 'not_me'] as const) {
      const reply = ann.device.reply(atOf(challenge, ann), challenge, answer, number);
      expect(await world.sidecar.devices.answer(VISIT, reply)).toBe('refused');
    }
    expect((await world.read(challenge)).state).toBe('PENDING');
    expect((await world.factor(ann.factor.id)).freezeReason).toBeUndefined();
  });

  it('is no device of somebody else, whatever it signs', async () => {
    const world = new PushWorld();
    const [ann, bob] = [await world.enroll('ann'), await world.enroll('bob')];
    const { challenge, number, at } = await world.prompted(ann);
    const devices = world.sidecar.devices;
    const own = { ...at, factorId: bob.factor.id };
    expect(await devices.view(VISIT, bob.device.look(own, world.clock.now()))).toBeUndefined();
    expect(await devices.view(VISIT, bob.device.look(at, world.clock.now()))).toBeUndefined();
    for (const where of [at, own])
      for (const answer of ['approve', 'deny', 'not_me'] as const)
        expect(await devices.answer(VISIT, bob.device.reply(where, challenge, answer, number))).toBe('refused');
    expect((await world.read(challenge)).state).toBe('DELIVERED');
    expect((await world.factor(ann.factor.id)).freezeReason).toBeUndefined();
    expect(await world.failures('ann')).toBe(0);
  });

  it('is nobody on a sidecar that does not serve the realm, though the stores have it', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const { challenge, number, at } = await world.prompted(ann);
    const { devices } = world.another(['bank']);
    expect(await devices.view(VISIT, ann.device.look(at, world.clock.now()))).toBeUndefined();
    expect(await devices.answer(VISIT, ann.device.reply(at, challenge, 'approve', number))).toBe('refused');
    expect((await world.read(challenge)).state).toBe('DELIVERED');
  });

  it('is nobody in a realm that is not there, nor by ids that are none', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const { challenge, number, at } = await world.prompted(ann);
    const devices = world.sidecar.devices;
    for (const over of [{ realm: 'bank' }, { challengeId: '' }, { challengeId: 'x' }, { factorId: '../etc' }]) {
      const where = { ...at, ...over };
      expect(await devices.view(VISIT, ann.device.look(where, world.clock.now()))).toBeUndefined();
      expect(await devices.answer(VISIT, ann.device.reply(where, challenge, 'approve', number))).toBe('refused');
    }
  });
});

describe('a denial', () => {
  it('is final', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const { challenge, number, at } = await world.prompted(ann);
    const devices = world.sidecar.devices;
    expect(await devices.answer(VISIT, ann.device.reply(at, challenge, 'deny'))).toBe('denied');
    expect(await world.failures('ann')).toBe(0);
    expect(await devices.answer(VISIT, ann.device.reply(at, challenge, 'approve', number))).toBe('refused');
    expect((await world.read(challenge)).state).toBe('DENIED');
    expect((await world.factor(ann.factor.id)).freezeReason).toBeUndefined();
  });

  it('and an approval at the same instant, in two sidecars, have one outcome, the same in store, stream and trail', async () => {
    for (let round = 0; round < 8; round++) {
      const world = new PushWorld();
      const ann = await world.enroll('ann');
      const { challenge, number, at } = await world.prompted(ann);
      const heard: string[] = [];
      world.signals.onChallenge(challenge.id, ({ state }) => heard.push(state));
      const yes = ann.device.reply(at, challenge, 'approve', number);
      const no = ann.device.reply(at, challenge, 'deny');
      const [one, two] = [world.sidecar.devices, world.another().devices];
      const calls =
        round % 2 === 0
          ? [one.answer(VISIT, yes), two.answer(VISIT, no)]
          : [one.answer(VISIT, no), two.answer(VISIT, yes)];
      const outcomes = (await Promise.all(calls)).toSorted();
      const { state } = await world.read(challenge);
      expect(['APPROVED', 'DENIED']).toContain(state);
      expect(outcomes).toEqual([state === 'APPROVED' ? 'approved' : 'denied', 'refused']);
      expect(world.eventsOf('challenge.approved')).toHaveLength(state === 'APPROVED' ? 1 : 0);
      expect(world.eventsOf('challenge.denied')).toHaveLength(state === 'DENIED' ? 1 : 0);
      expect(heard.filter((said) => said === 'APPROVED' || said === 'DENIED')).toEqual([state]);
    }
  });

  it('with "this was not me" freezes all push devices of the person and raises the alarm; nothing can be approved then', async () => {
    const world = new PushWorld();
    const [one, two, bob] = [await world.enroll('ann'), await world.enroll('ann'), await world.enroll('bob')];
    const other = await world.prompted(two);
    const { challenge, at } = await world.prompted(one);
    const devices = world.sidecar.devices;
    expect(await devices.answer(VISIT, one.device.reply(at, challenge, 'not_me'))).toBe('denied');
    expect((await world.factor(one.factor.id)).freezeReason).toBe('NOT_ME');
    expect((await world.factor(two.factor.id)).freezeReason).toBe('NOT_ME');
    expect((await world.factor(bob.factor.id)).freezeReason).toBeUndefined();
    expect(world.log.lines.some((line) => line.startsWith('error') && line.includes('not theirs'))).toBe(true);
    const yes = two.device.reply(other.at, other.challenge, 'approve', other.number);
    expect(await devices.answer(VISIT, yes)).toBe('refused');
    expect(await devices.view(VISIT, two.device.look(other.at, world.clock.now()))).toBeUndefined();
  });
});

describe('what is shown on the device', () => {
  it('is what is being approved, and the challenge is seen', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const { challenge, at } = await world.prompted(ann);
    const view = await world.sidecar.devices.view(VISIT, ann.device.look(at, world.clock.now()));
    expect(view).toEqual({
      subject: 'ann',
      resource: 'accounts/42',
      action: 'transfer.create',
      details: new Map([
        ['amount', '900 EUR'],
        ['to', 'Eve'],
      ]),
      actionDigest: challenge.actionDigest,
      digits: 2,
      expiresAt: challenge.expiresAt,
      now: world.clock.now(),
    });
    expect((await world.read(challenge)).state).toBe('SEEN');
    await world.sidecar.devices.view(VISIT, ann.device.look(at, world.clock.now()));
    expect(world.eventsOf('challenge.seen')).toHaveLength(1);
  });

  it('is nothing without a signature of the device over these ids at this time', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const { at } = await world.prompted(ann);
    const now = world.clock.now();
    const look = ann.device.look(at, now);
    const devices = world.sidecar.devices;
    const stranger = (await world.enroll('bob')).device;
    for (const bent of [
      { ...look, signature: new Uint8Array(64) },
      { ...look, at: now + 1 },
      { ...look, at: Number.NaN },
      stranger.look(at, now),
      ann.device.look(at, now - 301 * SECOND),
      ann.device.look(at, now + 301 * SECOND),
    ])
      expect(await devices.view(VISIT, bent)).toBeUndefined();
    expect(await devices.view(VISIT, ann.device.look(at, now - 299 * SECOND))).toBeDefined();
  });

  it('is nothing once it has ended, nor before it was sent', async () => {
    const world = new PushWorld();
    const ann = await world.enroll('ann');
    const early = await world.open('ann', [ann]);
    const devices = world.sidecar.devices;
    expect(await devices.view(VISIT, ann.device.look(atOf(early, ann), world.clock.now()))).toBeUndefined();
    const { challenge, at } = await world.prompted(ann);
    await devices.answer(VISIT, ann.device.reply(at, challenge, 'deny'));
    expect(await devices.view(VISIT, ann.device.look(at, world.clock.now()))).toBeUndefined();
  });
});

describe('what nobody may read', () => {
  it('is in no log line, event or metric: endpoint, keys and number', async () => {
    const world = new PushWorld({ digits: 6 });
    const ann = await world.enroll('ann');
    world.sender.script.push(
      { outcome: 'retry', reason: 'PROVIDER_DOWN', afterMs: undefined },
      { outcome: 'rejected', reason: 'VAPID', code: '403', config: true },
      { outcome: 'gone' },
    );
    const { number, challenge, at } = await world.prompted(ann);
    await world.clock.advanceSlowly(10 * SECOND, 500);
    await world.prompted(ann);
    await world.sidecar.devices.answer(VISIT, ann.device.reply(at, challenge, 'approve', `${number}1`));
    await world.trail.drain();
    const told = JSON.stringify([world.log.lines, world.audit.events, [...world.metrics.counts]]);
    const { endpoint, p256dh, auth } = ann.device;
    for (const secret of [
      endpoint,
      p256dh,
      auth,
      'push.example.com',
      Buffer.from(ann.device.publicKey).toString('base64url'),
    ])
      expect(told).not.toContain(secret);
    expect(told).not.toContain(number);
    const { sealedSecret } = await world.factor(ann.factor.id);
    expect(Buffer.from(sealedSecret).toString('latin1')).not.toContain('push.example.com');
  });
});
