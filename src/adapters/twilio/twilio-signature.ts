import { validateRequest } from 'twilio/lib/webhooks/webhooks.js';

/** Whether Twilio signed the URL and all parameters with the account's token; compared in constant time. */
export function isSigned(
  authToken: string,
  signature: string,
  url: string,
  params: readonly (readonly [name: string, value: string])[],
): boolean {
  const byName: Record<string, string[]> = Object.create(null);
  for (const [name, value] of params) {
    byName[name] ??= [];
    byName[name].push(value);
  }
  try {
    return validateRequest(authToken, signature, url, byName);
  } catch {
    return false;
  }
}
