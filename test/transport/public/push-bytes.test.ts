import { generateKeyPairSync, sign } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { actionDigest as digestOf } from '#src/domain/action.ts';
import { readDeviceKey } from '#src/domain/push-device-key.ts';
import { pushAnswerBytes, pushEnrollmentBytes, pushViewBytes } from '#src/domain/push-message.ts';
import { makeDeviceKey, signWith } from '#src/public/device-key.ts';
import {
  actionDigest,
  answerBytes,
  base64url,
  enrollmentBytes,
  fromBase64url,
  viewBytes,
} from '#src/public/push-bytes.ts';

const text = fc.string({ unit: 'grapheme' });
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

describe('what a browser signs', () => {
  it('are the bytes that the sidecar expects, for an answer, a view and an enrolment', async () => {
    const names = { challengeId: text, factorId: text, realm: text };
    const answer = fc.record({
      ...names,
      ...{ subject: text, actionDigest: text, number: text },
      answer: fc.constantFrom('approve' as const, 'deny' as const, 'not_me' as const),
    });
    fc.assert(
      fc.property(answer, (fields) => {
        expect(hex(answerBytes(fields))).toBe(hex(pushAnswerBytes(fields)));
      }),
    );
    fc.assert(
      fc.property(fc.record({ ...names, at: fc.nat() }), ({ at, ...fields }) => {
        expect(hex(viewBytes({ ...fields, at }))).toBe(hex(pushViewBytes({ ...fields, issuedAt: at })));
      }),
    );
    const enrollment = fc.record({
      ...{ factorId: text, realm: text, subject: text },
      publicKey: fc.uint8Array({ maxLength: 100 }).map((bytes) => new Uint8Array(bytes)),
      subscription: fc.record({ endpoint: text, p256dh: text, auth: text }),
    });
    await fc.assert(
      fc.asyncProperty(enrollment, async (fields) => {
        expect(hex(await enrollmentBytes(fields))).toBe(hex(pushEnrollmentBytes(fields)));
      }),
    );
  });

  it('is the digest of the action that the sidecar makes, in whatever order the details come', async () => {
    const details = fc.uniqueArray(fc.tuple(text, text), { selector: ([key]) => key });
    await fc.assert(
      fc.asyncProperty(text, text, text, text, details, async (realm, subject, resource, action, pairs) => {
        const shown = { resource, action, details: pairs };
        expect(await actionDigest(realm, subject, shown)).toBe(
          digestOf(realm, subject, { resource, action, details: new Map([...pairs].reverse()) }),
        );
      }),
    );
  });

  it('verifies with the key it hands in, and cannot be taken out', async () => {
    const { privateKey, publicKey } = await makeDeviceKey();
    const message = viewBytes({ challengeId: 'c', factorId: 'f', realm: 'r', at: 1 });
    const signature = await signWith(privateKey, message);
    expect(readDeviceKey(publicKey)?.verifies(message, signature)).toBe(true);
    const other = sign('sha256', message, {
      key: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
      dsaEncoding: 'ieee-p1363',
    });
    expect(readDeviceKey(publicKey)?.verifies(message, new Uint8Array(other))).toBe(false);
    expect(privateKey.extractable).toBe(false);
    await expect(crypto.subtle.exportKey('pkcs8', privateKey)).rejects.toThrow();
  });

  it('goes over the wire as base64url and back', () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(base64url(bytes)).toBe(Buffer.from(bytes).toString('base64url'));
        expect(hex(fromBase64url(base64url(bytes)))).toBe(hex(bytes));
      }),
    );
  });
});
