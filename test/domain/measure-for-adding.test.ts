import { expect, it } from 'vitest';
import { type Method, measureForAdding } from '#src/domain/method.ts';

it.each<[added: Method, held: readonly Method[], measure: Method]>([
  ['totp', ['totp', 'backup_code'], 'totp'],
  ['sms', ['webauthn'], 'sms'],
  ['webauthn', ['totp', 'sms', 'backup_code'], 'totp'],
  ['webauthn', ['sms', 'push', 'backup_code'], 'push'],
  ['webauthn', ['webauthn', 'totp'], 'webauthn'],
  ['totp', ['sms', 'backup_code'], 'sms'],
  ['webauthn', [], 'webauthn'],
])('asks for adding %s to %j for a proof as strong as %s', (added, held, measure) => {
  const strength = { backup_code: 1, sms: 1, totp: 2, push: 2, webauthn: 3 };
  expect(strength[measureForAdding(added, held)]).toBe(strength[measure]);
});
