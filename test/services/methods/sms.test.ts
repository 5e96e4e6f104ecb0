import { describe, expect, it } from 'vitest';
import type { Challenge } from '#src/domain/challenge.ts';
import type { Factor } from '#src/domain/factor.ts';
import { MINUTE, SECOND } from '#src/domain/time.ts';
import type { IssuedCodes } from '#src/ports/issued-codes.ts';
import type { SendResult } from '#src/ports/senders.ts';
import { faultOf } from '../../support/fault-of.ts';
import { APP, codeIn, NUMBER, REALM, SmsWorld } from '../../support/sms-world.ts';

async function opened(world = new SmsWorld()) {
  const sidecar = world.sidecar();
  const factor = world.factor('ada');
  const challenge = await world.challenge([factor]);
  const prompt = (again = false) => sidecar.method.prompt(APP, challenge, factor, again);
  const check = (code: string, other: Challenge = challenge, factors: readonly Factor[] = [factor]) =>
    sidecar.method.check(other, factors, { kind: 'sms', code }, world.clock.now());
  return { world, ...sidecar, factor, challenge, prompt, check };
}

describe('a code by SMS', () => {
  it('goes to the enrolled number and nowhere else, for no longer than the challenge lives', async () => {
    const { world, challenge, factor, prompt } = await opened();
    world.clock.advance(1_500);
    expect(await prompt()).toEqual({ method: 'sms', factorId: factor.id, destination: '••••••71' });
    await world.turn();
    const [message] = world.sender.asked;
    expect(world.sender.asked).toHaveLength(1);
    expect(message).toMatchObject({ to: NUMBER, validityMs: 58_500 });
    expect(message?.body).toMatch(/^[0-9]{6} is your Acme code\. It expires in 1 min\./);
    expect(await world.read(challenge)).toMatchObject({
      state: 'DELIVERED',
      delivery: { method: 'sms', factorId: factor.id, status: 'SENT', reason: '', resendable: false },
    });
  });

  it('is told as QUEUED before anything was sent, and answers before the provider does', async () => {
    const { world, challenge, prompt } = await opened();
    const { promise, resolve } = Promise.withResolvers<{ outcome: 'accepted'; providerId: string }>();
    world.sender.next.push(promise);
    await prompt();
    expect((await world.read(challenge)).delivery).toMatchObject({ status: 'QUEUED', reason: '' });
    resolve({ outcome: 'accepted', providerId: 'SM1' });
    await world.turn();
    expect((await world.read(challenge)).delivery).toMatchObject({ status: 'SENT' });
  });

  it('that takes long is told as DELAYED within two seconds, and never in place of what a newer one says', async () => {
    const { world, challenge, prompt } = await opened();
    const slow = Promise.withResolvers<SendResult>();
    world.sender.next.push(slow.promise);
    await prompt();
    await world.turn(1_000);
    await prompt(true);
    await world.turn(1_000);
    expect((await world.read(challenge)).delivery).toMatchObject({ status: 'SENT', reason: '' });
    const slower = Promise.withResolvers<SendResult>();
    world.sender.next.push(slower.promise);
    await prompt(true);
    await world.turn(2_000);
    expect((await world.read(challenge)).delivery).toMatchObject({ status: 'QUEUED', reason: 'DELAYED' });
    slow.resolve({ outcome: 'rejected', reason: 'OPTED_OUT', code: '21610', config: false });
    slower.resolve({ outcome: 'accepted', providerId: 'SM1' });
    await world.turn();
    expect((await world.read(challenge)).delivery).toMatchObject({ status: 'SENT', reason: '' });
  });

  it('proves the factor it was sent to, bound to the digest that is used up with the approval', async () => {
    const { world, factor, prompt, check, challenge } = await opened();
    await prompt();
    await world.turn();
    const verdict = await check(world.sender.code);
    expect(verdict).toMatchObject({ outcome: 'right', method: 'sms', factorId: factor.id });
    const stored = await world.issued.read(REALM, challenge.id, 'sms', world.clock.now());
    expect(verdict).toMatchObject({ claim: { kind: 'issued', method: 'sms', digest: stored?.digest } });
  });

  it('is one of a million: a wrong one is wrong, whatever it has in common with the right one', async () => {
    const { world, prompt, check } = await opened();
    await prompt();
    await world.turn();
    const { code } = world.sender;
    for (let at = 0; at < code.length; at += 1) {
      const bent = `${code.slice(0, at)}${(Number(code[at]) + 1) % 10}${code.slice(at + 1)}`;
      expect(await check(bent)).toEqual({ outcome: 'wrong' });
    }
  });

  it.each(['', '12345', '1234567', ' 123456', '123456\n', '１２３４５６', '0'.repeat(4096)])(
    'of the wrong form is refused before any digest is made: %j',
    async (typed) => {
      const { world, prompt, check } = await opened();
      await prompt();
      let digests = 0;
      const digest = world.digest.digest.bind(world.digest);
      world.digest.digest = (...args) => {
        digests += 1;
        return digest(...args);
      };
      expect(await check(typed)).toEqual({ outcome: 'wrong' });
      expect(digests).toBe(0);
    },
  );

  it('is void as soon as another is sent (A21)', async () => {
    const { world, prompt, check } = await opened();
    await prompt();
    await prompt(true);
    await world.turn();
    const [old, newest] = world.sender.asked.map(codeIn);
    expect(old).not.toBe(newest);
    expect(await check(old ?? '')).toEqual({ outcome: 'wrong' });
    expect(await check(newest ?? '')).toMatchObject({ outcome: 'right' });
  });

  it('is good for its own challenge only (A21)', async () => {
    const { world, factor, prompt, check } = await opened();
    const other = await world.challenge([factor]);
    await prompt();
    await world.turn();
    expect(await check(world.sender.code, other)).toEqual({ outcome: 'wrong' });
    // Not even if somebody moved its row to the other.
    world.sql.db.prepare('UPDATE issued_codes SET bearer_id = ?').run(other.id);
    expect(await check(world.sender.code, other)).toEqual({ outcome: 'wrong' });
  });

  it('is good for its own factor only, and for one that is still usable', async () => {
    const { world, factor, challenge, prompt, check } = await opened();
    const other = world.factor('ada', '+14155552672');
    await prompt();
    await world.turn();
    expect(await check(world.sender.code, challenge, [other])).toEqual({ outcome: 'wrong' });
    expect(await check(world.sender.code, challenge, [])).toEqual({ outcome: 'wrong' });
    expect(await check(world.sender.code, challenge, [other, factor])).toMatchObject({ factorId: factor.id });
  });

  it('dies with its challenge', async () => {
    const { world, prompt, check } = await opened();
    await prompt();
    await world.turn();
    world.clock.advance(MINUTE - 1);
    expect(await check(world.sender.code)).toMatchObject({ outcome: 'right' });
    world.clock.advance(1);
    expect(await check(world.sender.code)).toEqual({ outcome: 'wrong' });
  });

  it('is no answer of another kind', async () => {
    const { world, prompt, method, challenge, factor } = await opened();
    await prompt();
    await world.turn();
    const proof = { kind: 'totp', code: world.sender.code, nextCode: '' } as const;
    expect(await method.check(challenge, [factor], proof, world.clock.now())).toEqual({ outcome: 'wrong' });
  });

  it('is in no store, log, metric or event, and neither is the number', async () => {
    const { world, prompt, check } = await opened();
    await prompt();
    await prompt(true);
    world.sender.next.push({ outcome: 'rejected', reason: 'SENDER_CONFIG', code: '20003', config: true });
    await prompt(true);
    const fault = await faultOf(prompt(true));
    await world.turn();
    await check('000000');
    const { log, audit, metrics } = world;
    const seen = [world.dump(), ...log.lines, JSON.stringify(audit.events), [...metrics.counts.keys()].join(' ')];
    const all = `${seen.join('\n')}${JSON.stringify(fault)}${fault.stack}${JSON.stringify(fault.details)}`;
    for (const code of world.sender.asked.map(codeIn)) expect(all).not.toContain(code);
    for (const secret of [NUMBER.slice(1), '4155552671', '5552671']) expect(all).not.toContain(secret);
  });
});

describe('a code that comes back', () => {
  it('is credited to its country, so that the breaker stays shut', async () => {
    const world = new SmsWorld({ minVerifiedShare: 0.5, minVerifiedSends: 2, maxSends: 100 });
    const { method } = world.sidecar();
    const factor = world.factor('ada');
    const send = async (typed: boolean) => {
      const challenge = await world.challenge([factor]);
      await method.prompt(APP, challenge, factor, false);
      await world.turn();
      const proof = { kind: 'sms', code: typed ? world.sender.code : '' } as const;
      await method.check(challenge, [factor], proof, world.clock.now());
    };
    for (const typed of [true, true, false]) await send(typed);
    world.clock.advance(4 * MINUTE);
    await send(false);
    for (const typed of [false, false]) await send(typed);
    world.clock.advance(4 * MINUTE);
    expect((await faultOf(send(true))).details.metadata).toEqual({ limit: 'sms_unverified' });
  });

  it('is right even where the credit cannot be noted', async () => {
    const { world, prompt, check } = await opened();
    await prompt();
    await world.turn();
    world.ledger.credit = () => Promise.reject(new Error('away'));
    expect(await check(world.sender.code)).toMatchObject({ outcome: 'right' });
    expect(world.log.lines.join()).toContain('could not be credited');
  });
});

describe('a challenge that ended meanwhile', () => {
  it('gets no message that had to wait', async () => {
    const { world, challenge, prompt } = await opened();
    world.sender.next.push({ outcome: 'retry', reason: 'PROVIDER_BUSY', afterMs: 5_000 });
    await prompt();
    await world.turn(1_000);
    const command = { realm: REALM, challengeId: challenge.id, to: 'CANCELLED', now: world.clock.now() } as const;
    await world.challenges.settle({ ...command, events: [] });
    await world.turn(30 * SECOND);
    expect(world.sender.asked).toHaveLength(1);
  });
});

describe('choosing SMS twice', () => {
  it('sends nothing twice while a code is live, and shows the same', async () => {
    const { world, prompt } = await opened();
    const first = await prompt();
    await world.turn(10 * SECOND);
    expect(await prompt()).toEqual(first);
    await world.turn();
    expect(world.sender.asked).toHaveLength(1);
  });

  it('sends one message for twenty choices at once over two sidecars', async () => {
    const { world, challenge, factor, method } = await opened();
    const other = world.sidecar();
    const shown = await Promise.all(
      Array.from({ length: 20 }, (_, at) => (at % 2 ? method : other.method).prompt(APP, challenge, factor, false)),
    );
    await world.turn();
    expect(new Set(shown.map((view) => view.destination))).toEqual(new Set(['••••••71']));
    expect(world.sender.asked).toHaveLength(1);
  });

  it('sends to the other number when that is chosen, and again to the first one when it is chosen back', async () => {
    const { world, method, factor, challenge, check } = await opened();
    const other = world.factor('ada', '+14155559999');
    for (const chosen of [factor, other, factor]) await method.prompt(APP, challenge, chosen, false);
    await world.turn();
    expect(world.sender.asked.map(({ to }) => to)).toEqual([NUMBER, '+14155559999', NUMBER]);
    expect(await check(world.sender.code, challenge, [factor, other])).toMatchObject({ factorId: factor.id });
  });

  it('sends after all when the first time could not be stored', async () => {
    const { world, challenge, factor, prompt } = await opened();
    const issue = world.issued.issue.bind(world.issued);
    const broken: IssuedCodes['issue'] = () => Promise.reject(new Error('the disk is full'));
    world.issued.issue = broken;
    await expect(prompt()).rejects.toThrow('the disk is full');
    expect((await world.read(challenge)).delivery).toMatchObject({ status: 'FAILED', reason: 'NOT_STORED' });
    world.issued.issue = issue;
    await prompt();
    await world.turn();
    expect(world.sender.asked).toHaveLength(1);
    expect((await world.read(challenge)).delivery).toMatchObject({ status: 'SENT', factorId: factor.id });
  });

  it('sends after all when the store went away with the code made and nothing sent yet', async () => {
    const { world, challenge, prompt } = await opened();
    world.sql.db.exec('ALTER TABLE challenges RENAME TO challenges_away');
    await expect(prompt()).rejects.toThrow();
    world.sql.db.exec('ALTER TABLE challenges_away RENAME TO challenges');
    await prompt();
    await world.turn();
    expect(world.sender.asked).toHaveLength(1);
    expect((await world.read(challenge)).delivery?.status).toBe('SENT');
  });
});

describe('a code that cannot be sent', () => {
  it('is refused where the challenge ends before it could arrive', async () => {
    const { world, prompt } = await opened();
    world.clock.advance(54 * SECOND + 1);
    const fault = await faultOf(prompt());
    expect(fault).toMatchObject({ kind: 'unavailable', reason: 'DELIVERY_FAILED' });
    expect(fault.details.metadata).toEqual({ reason: 'TOO_LATE', method: 'sms' });
    expect(world.sender.asked).toEqual([]);
  });

  it('does not go to a number of a country that was taken off the list since (SMS-5)', async () => {
    const { world, challenge, factor, numbers, prompt } = await opened(new SmsWorld({ countries: ['CA'] }));
    const fault = await faultOf(prompt());
    expect(fault).toMatchObject({ kind: 'unavailable', reason: 'DELIVERY_FAILED' });
    expect(fault.details.metadata).toEqual({ reason: 'COUNTRY_BLOCKED', method: 'sms' });
    await world.turn();
    expect(world.sender.asked).toEqual([]);
    expect(await world.issued.read(REALM, challenge.id, 'sms', world.clock.now())).toBeUndefined();
    expect(await numbers.reachable(factor)).toBe('');
    const back = new SmsWorld().sidecar().numbers;
    expect(back.allows('US')).toBe(true);
  });

  it('is sent in the last six seconds that make sense', async () => {
    const { world, prompt } = await opened();
    world.clock.advance(54 * SECOND);
    await prompt();
    await world.turn();
    expect(world.sender.asked).toMatchObject([{ validityMs: 6_000 }]);
  });

  it('for which the last room was taken at the same moment is said to be not sent, and is sent when chosen again', async () => {
    const world = new SmsWorld({ queue: 1 });
    const { method } = world.sidecar();
    const { promise, resolve } = Promise.withResolvers<SendResult>();
    world.sender.next.push(promise);
    const people = [world.factor('ada'), world.factor('bob', '+14155551111')];
    const opened = await Promise.all(
      people.map(async (factor) => ({ factor, challenge: await world.challenge([factor]) })),
    );
    const prompts = await Promise.allSettled(
      opened.map(({ factor, challenge }) => method.prompt(APP, challenge, factor, false)),
    );
    const lost = opened.filter((_, at) => prompts[at]?.status === 'rejected');
    expect(lost).toHaveLength(1);
    resolve({ outcome: 'accepted', providerId: 'SM1' });
    await world.turn();
    for (const { factor, challenge } of lost) {
      expect((await world.read(challenge)).delivery).toMatchObject({ status: 'FAILED', reason: 'QUEUE_FULL' });
      await method.prompt(APP, challenge, factor, false);
    }
    await world.turn();
    expect(world.sender.asked).toHaveLength(2);
  });

  it('is refused at once while the queue is full, and counted against nobody', async () => {
    const world = new SmsWorld({ queue: 1 });
    const { method } = world.sidecar();
    world.sender.always = { outcome: 'retry', reason: 'PROVIDER_BUSY', afterMs: 30 * SECOND };
    const ada = world.factor('ada');
    const bob = world.factor('bob', '+14155551111');
    await method.prompt(APP, await world.challenge([ada]), ada, false);
    await world.turn();
    const challenge = await world.challenge([bob]);
    for (let time = 0; time < 5; time += 1) {
      const fault = await faultOf(method.prompt(APP, challenge, bob, true));
      expect(fault.details.metadata).toMatchObject({ reason: 'QUEUE_FULL' });
    }
    expect(world.eventsOf('limit.hit')).toEqual([]);
  });
});

describe('somebody who may not know', () => {
  it('is shown where a code would go, and none goes', async () => {
    const { world, method, challenge, factor } = await opened();
    const view = await method.pretend?.(challenge, factor);
    expect(view).toEqual({ method: 'sms', factorId: factor.id, destination: '••••••71' });
    await world.turn();
    expect(world.sender.asked).toEqual([]);
    expect(await world.issued.read(REALM, challenge.id, 'sms', world.clock.now())).toBeUndefined();
  });

  it('costs the same work as a check', async () => {
    const { world, method } = await opened();
    let reads = 0;
    const read = world.issued.read.bind(world.issued);
    world.issued.read = (...args) => {
      reads += 1;
      return read(...args);
    };
    await method.imitate({ kind: 'sms', code: '123456' });
    expect(reads).toBe(1);
  });
});

describe('the number of a factor', () => {
  it('is masked, and nothing where the row was tampered with', async () => {
    const { world, factor, mask } = await opened();
    expect(mask?.(factor)).toBe('••••••71');
    const stolen = world.factor('eve', '+14155550000');
    expect(mask?.({ ...stolen, sealedSecret: factor.sealedSecret })).toBe('');
    expect(world.log.lines.join()).toContain('failed its integrity check');
  });

  it('is never that of another row: nothing is sent to a number that was moved', async () => {
    const { world, challenge, factor, method } = await opened();
    const eve = world.factor('eve', '+14155550000');
    const moved = { ...factor, sealedSecret: eve.sealedSecret };
    expect(await faultOf(method.prompt(APP, challenge, moved, false))).toMatchObject({ reason: 'INTEGRITY' });
    await world.turn();
    expect(world.sender.asked).toEqual([]);
  });
});
