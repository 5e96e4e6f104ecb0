import { createPrivateKey } from 'node:crypto';
import { decodeJwt, decodeProtectedHeader, exportJWK, generateKeyPair, importJWK, jwtVerify, SignJWT } from 'jose';
import { describe, expect, it } from 'vitest';
import { joseReceiptTokens } from '#src/adapters/jose/receipt-tokens.ts';
import { SECOND } from '#src/domain/time.ts';
import type { RedeemCommand } from '#src/services/challenges/redemption.ts';
import { APP, challengeWorld, GATEWAY, openCommand, REALM, refOf, totp } from '../../support/challenge-world.ts';

/** A person's approved transfer in a session, and the command that redeems it. */
async function approved(world = challengeWorld(), over = {}) {
  world.sessions.give('tok');
  const command = openCommand({ sessionToken: 'tok', ...over });
  const { challenge } = await world.challenges.open(APP, command);
  await world.verification.answer(APP, { ...refOf(challenge, 'tok'), proof: totp('right-1'), requestId: '' });
  const view = await world.challenges.read(APP, refOf(challenge, 'tok'));
  const redeem: RedeemCommand = {
    realm: REALM,
    receipt: view.receipt?.token ?? '',
    subject: 'ann',
    sessionToken: 'tok',
    action: command.action,
    audience: '',
    requestId: '',
  };
  return { world, challenge: view.challenge, redeem };
}

describe('a receipt', () => {
  it('says who approved what, how and for whom, and verifies offline against the key set', async () => {
    const { world, challenge, redeem } = await approved();
    const { keys } = await world.receipts.jwks();
    const [jwk] = keys;
    if (!jwk) throw new Error('no key');
    expect(jwk).toMatchObject({ kty: 'OKP', crv: 'Ed25519', alg: 'EdDSA', use: 'sig' });
    expect(jwk).not.toHaveProperty('d');
    const currentDate = new Date(world.clock.now());
    const { payload, protectedHeader } = await jwtVerify(redeem.receipt, await importJWK({ ...jwk }), { currentDate });
    expect(protectedHeader).toEqual({ alg: 'EdDSA', typ: 'sallyport-receipt+jwt', kid: jwk['kid'] });
    const now = Math.floor(world.clock.now() / 1000);
    expect(payload).toEqual({
      iss: 'sallyport',
      aud: REALM,
      sub: 'ann',
      sid: 'ses_tok',
      jti: challenge.receiptId,
      iat: now,
      exp: now + 120,
      realm: REALM,
      cid: challenge.id,
      purpose: 'action',
      act: challenge.actionDigest,
      amr: ['otp', 'mfa'],
      acr: 'aal2',
      apr: 'PROOF',
      mth: 'totp',
    });
  });

  it('is the same text each time it is read, and gone once it lapsed', async () => {
    const { world, challenge, redeem } = await approved();
    const again = await world.challenges.read(APP, refOf(challenge, 'tok'));
    expect(again.receipt?.token).toBe(redeem.receipt);
    world.clock.advance(120 * SECOND);
    expect((await world.challenges.read(APP, refOf(challenge, 'tok'))).receipt).toBeUndefined();
  });

  it('is good until its last second and not at its end, without tolerance', async () => {
    const { world, redeem } = await approved();
    world.clock.advance(119_999);
    await world.receipts.verify(REALM, redeem.receipt);
    world.clock.advance(1);
    await expect(world.receipts.verify(REALM, redeem.receipt)).rejects.toMatchObject({ reason: 'RECEIPT_INVALID' });
  });

  it('is not issued for a challenge that is not approved', async () => {
    const world = challengeWorld();
    const { challenge } = await world.challenges.open(APP, openCommand());
    await expect(world.receipts.issue(challenge)).rejects.toMatchObject({ reason: 'CHALLENGE_NOT_APPROVED' });
  });

  it('is not issued for a challenge that did not end in an approval, whatever else it carries', async () => {
    const { world, challenge } = await approved();
    for (const state of ['PENDING', 'DENIED', 'EXPIRED', 'LOCKED'] as const) {
      await expect(world.receipts.issue({ ...challenge, state })).rejects.toMatchObject({
        reason: 'CHALLENGE_NOT_APPROVED',
      });
    }
  });

  it('is not signed by a key whose stored half was moved to another id', async () => {
    const { world, challenge } = await approved();
    const [key] = world.keys.keys;
    if (!key) throw new Error('no key');
    world.keys.keys[0] = { ...key, id: 'key_00000000000000000000000000' };
    await expect(world.receiptsOver().issue(challenge)).rejects.toMatchObject({ reason: 'INTEGRITY' });
  });

  it('is signed with one key that was made once, sealed, and recorded, also under parallel first use', async () => {
    const world = challengeWorld();
    await Promise.all([world.receipts.jwks(), world.receiptsOver().jwks(), world.receiptsOver().jwks()]);
    expect(world.keys.keys).toHaveLength(1);
    expect(world.eventsOf('key.created')).toHaveLength(1);
    const sealed = Buffer.from(world.keys.keys[0]?.sealedPrivate ?? []).toString('latin1');
    expect(sealed).not.toContain('\x2b\x65\x70');
  });

  it('of a retired key stays good, and one of a key made elsewhere is found', async () => {
    const { world, challenge, redeem } = await approved();
    const [old] = world.keys.keys;
    if (!old) throw new Error('no key');
    world.keys.keys[0] = { ...old, retiredAt: world.clock.now() };
    const other = world.receiptsOver();
    expect((await other.jwks()).keys).toHaveLength(2);
    await other.verify(REALM, redeem.receipt);
    const { token } = await other.issue(challenge);
    expect(token).not.toBe(redeem.receipt);
    await world.receipts.verify(REALM, redeem.receipt);
    world.clock.advance(30 * SECOND);
    expect(await world.receipts.verify(REALM, token)).toMatchObject({ challengeId: challenge.id });
  });
});

describe('a receipt that was tampered with', () => {
  const forged = async () => {
    const { world, redeem } = await approved();
    const claims = decodeJwt(redeem.receipt);
    const header = decodeProtectedHeader(redeem.receipt);
    const refuses = async (token: string) => {
      await expect(world.receipts.verify(REALM, token)).rejects.toMatchObject({
        kind: 'precondition',
        reason: 'RECEIPT_INVALID',
      });
    };
    return { world, redeem, claims, header, refuses };
  };
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

  it('fails for each claim that is changed or taken away', async () => {
    const { redeem, claims, refuses } = await forged();
    const [head, , signature] = redeem.receipt.split('.');
    for (const name of Object.keys(claims)) {
      const value = claims[name];
      const other = typeof value === 'number' ? value + 1 : Array.isArray(value) ? ['hwk'] : `${String(value)}x`;
      await refuses(`${head}.${encode({ ...claims, [name]: other })}.${signature}`);
      const { [name]: _gone, ...rest } = claims;
      await refuses(`${head}.${encode(rest)}.${signature}`);
    }
  });

  it('fails with another type, algorithm, key id, key, or none at all', async () => {
    const { world, redeem, claims, header, refuses } = await forged();
    const stranger = await generateKeyPair('EdDSA', { crv: 'Ed25519' });
    const sign = (over: Record<string, unknown>, key: Parameters<SignJWT['sign']>[0] = stranger.privateKey) =>
      new SignJWT(claims).setProtectedHeader({ ...header, ...over } as { alg: string }).sign(key);
    await refuses(await sign({}));
    await refuses(await sign({ kid: 'key_other' }));
    await refuses(await sign({ jwk: await exportJWK(stranger.publicKey) }));
    await refuses(
      await sign({ alg: 'HS256' }, new TextEncoder().encode(JSON.stringify(world.keys.keys[0]?.publicJwk))),
    );
    await refuses(`${encode({ ...header, alg: 'none' })}.${encode(claims)}.`);
    await refuses(`${encode({ ...header, alg: 'none' })}.${encode(claims)}.${redeem.receipt.split('.')[2]}`);
    for (const token of [
      '',
      '.',
      '..',
      'a.b.c',
      redeem.receipt.slice(0, -2),
      `${redeem.receipt}x`,
      'x'.repeat(9_000),
    ]) {
      await refuses(token);
    }
  });

  it('fails when the right key signed another type, algorithm, key id, issuer or length, or a session token’s claims', async () => {
    const { world, claims, header, refuses } = await forged();
    const own = await ownSigner(world);
    await refuses(await own({ ...header, typ: 'JWT' }, claims));
    await refuses(await own({ ...header, typ: undefined }, claims));
    await refuses(await own(header, { ...claims, iss: 'other' }));
    await refuses(await own(header, { ...claims, realm: 'other' }));
    await refuses(await own(header, { ...claims, exp: undefined }));
    await refuses(await own(header, { ...claims, amr: 'otp' }));
    await refuses(await own({ ...header, alg: 'Ed25519' }, claims));
    await refuses(await own({ ...header, kid: 'key_other' }, claims));
    await refuses(await own({ ...header, kid: undefined }, claims));
    await refuses(await own(header, { ...claims, pad: 'x'.repeat(6_000) }));
    await world.receipts.verify(REALM, await own(header, { ...claims, pad: 'x'.repeat(5_000) }));
    await world.receipts.verify(REALM, await own(header, claims));
  });
});

/** Signs anything with a key that the sidecar takes for its own. */
async function ownSigner(world: ReturnType<typeof challengeWorld>) {
  const [known] = world.keys.keys;
  if (!known) throw new Error('no key');
  const pair = await joseReceiptTokens.generate();
  world.keys.keys[0] = { ...known, publicJwk: pair.publicJwk };
  world.clock.advance(31 * SECOND);
  const key = createPrivateKey({ key: Buffer.from(pair.pkcs8), format: 'der', type: 'pkcs8' });
  return (header: Record<string, unknown>, claims: Record<string, unknown>) =>
    new SignJWT(claims).setProtectedHeader(header as { alg: string }).sign(key);
}

describe('redeeming', () => {
  it('answers what was proven, once, with a durable event', async () => {
    const { world, challenge, redeem } = await approved();
    expect(await world.redemption.redeem(APP, redeem)).toMatchObject({
      challengeId: challenge.id,
      subject: 'ann',
      sessionId: 'ses_tok',
      amr: ['otp', 'mfa'],
      acr: 'aal2',
      approvalReason: 'PROOF',
    });
    expect(world.state.events.at(-1)).toMatchObject({ type: 'receipt.redeemed', challengeId: challenge.id });
    await expect(world.redemption.redeem(APP, redeem)).rejects.toMatchObject({
      kind: 'precondition',
      reason: 'RECEIPT_REDEEMED',
    });
    expect(world.eventsOf('receipt.refused')).toMatchObject([{ reason: 'RECEIPT_REDEEMED' }]);
  });

  it('succeeds exactly once out of 50 parallel calls through two sidecars and callers', async () => {
    const { world, redeem } = await approved();
    const other = world.sidecar();
    const outcomes = await Promise.all(
      Array.from({ length: 50 }, (_, index) =>
        (index % 2 ? other : world).redemption.redeem(index % 3 ? APP : GATEWAY, redeem).then(
          () => 'redeemed',
          (error: { reason: string }) => error.reason,
        ),
      ),
    );
    expect(outcomes.filter((outcome) => outcome === 'redeemed')).toHaveLength(1);
    expect(outcomes.filter((outcome) => outcome === 'RECEIPT_REDEEMED')).toHaveLength(49);
  });

  it('gives a repeat by request id the first answer, and nobody else', async () => {
    const { world, redeem } = await approved();
    const requestId = '5f2b7d9a-3c1e-4f60-8a7b-0d9e8c7b6a51';
    const first = await world.redemption.redeem(APP, { ...redeem, requestId });
    expect(await world.redemption.redeem(APP, { ...redeem, requestId })).toEqual(first);
    await expect(world.redemption.redeem(GATEWAY, { ...redeem, requestId })).rejects.toMatchObject({
      reason: 'RECEIPT_REDEEMED',
    });
    expect(world.eventsOf('receipt.redeemed')).toHaveLength(1);
  });

  it.each([
    [
      'action',
      {
        action: {
          ...openCommand().action,
          details: new Map([
            ['amount', '9000 EUR'],
            ['to', 'Eve'],
          ]),
        },
      },
    ],
    [
      'action',
      {
        action: {
          ...openCommand().action,
          details: new Map([
            ['amount', '900 EUR'],
            ['to', 'Eve\u0301'],
          ]),
        },
      },
    ],
    ['action', { action: { ...openCommand().action, resource: 'accounts/43' } }],
    ['subject', { subject: 'bob' }],
    ['audience', { audience: 'another-service' }],
    ['session', { sessionToken: 'other' }],
    ['session', { sessionToken: '' }],
  ])('for another %s is refused, voids the receipt, and is audited', async (mismatch, over) => {
    const { world, challenge, redeem } = await approved();
    world.sessions.give('other', { id: 'ses_other' });
    await expect(world.redemption.redeem(APP, { ...redeem, ...over })).rejects.toMatchObject({
      kind: 'denied',
      reason: 'RECEIPT_MISMATCH',
      details: { metadata: { mismatch } },
    });
    expect(world.state.events.at(-1)).toMatchObject({
      type: 'receipt.refused',
      reason: 'RECEIPT_MISMATCH',
      challengeId: challenge.id,
      facts: { mismatch },
    });
    await expect(world.redemption.redeem(APP, redeem)).rejects.toMatchObject({ reason: 'RECEIPT_REDEEMED' });
  });

  it('takes the same action in whatever order its details come', async () => {
    const { world, redeem } = await approved();
    const details = new Map([...redeem.action.details].reverse());
    await world.redemption.redeem(APP, { ...redeem, action: { ...redeem.action, details } });
  });

  it('in another realm, expired, or not made here is refused and audited, and leaves a good receipt good', async () => {
    const { world, redeem } = await approved();
    for (const over of [{ realm: 'elsewhere' }, { receipt: `${redeem.receipt}x` }, { receipt: 'a.b.c' }]) {
      await expect(world.redemption.redeem(APP, { ...redeem, ...over })).rejects.toMatchObject({
        kind: 'precondition',
        reason: 'RECEIPT_INVALID',
      });
    }
    expect(world.eventsOf('receipt.refused')).toHaveLength(3);
    await world.redemption.redeem(APP, redeem);
  });

  it('needs the session to be live; a stale token leaves the receipt good', async () => {
    const { world, redeem } = await approved();
    const session = world.sessions.byToken.get('tok');
    world.sessions.byToken.delete('tok');
    await expect(world.redemption.redeem(APP, redeem)).rejects.toMatchObject({
      kind: 'unauthenticated',
      reason: 'SESSION_INVALID',
    });
    expect(world.eventsOf('receipt.refused')).toMatchObject([{ reason: 'SESSION_INVALID' }]);
    world.sessions.give('rotated', { id: session?.id ?? '' });
    await world.redemption.redeem(APP, { ...redeem, sessionToken: 'rotated' });
  });

  it('without a session is refused to a token of somebody else', async () => {
    const world = challengeWorld();
    const { challenge } = await world.challenges.open(APP, openCommand());
    await world.verification.answer(APP, { ...refOf(challenge), proof: totp('right-1'), requestId: '' });
    const { receipt } = await world.challenges.read(APP, refOf(challenge));
    world.sessions.give('bobs', { subject: 'bob' });
    const { action } = openCommand();
    const redeem = { realm: REALM, receipt: receipt?.token ?? '', subject: 'ann', action, audience: '', requestId: '' };
    await expect(world.redemption.redeem(APP, { ...redeem, sessionToken: 'bobs' })).rejects.toMatchObject({
      reason: 'RECEIPT_MISMATCH',
    });
  });
});
