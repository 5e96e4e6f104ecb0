import { readFileSync } from 'node:fs';
import { ensureVapidKey } from '#src/adapters/webpush/vapid-key.ts';
import { WebPushSender } from '#src/adapters/webpush/web-push-sender.ts';
import type { Config } from '#src/config/schema.ts';
import type { PushKeyStore } from '#src/ports/push-key-store.ts';
import { Push, type PushDependencies } from '#src/services/methods/push.ts';

export interface ComposedPush {
  readonly push: Push;
  /** Before the stores are closed. */
  stop(): Promise<void>;
}

/** Push approval as the settings want it; undefined where it is switched off. */
export function composePush(
  deps: Omit<PushDependencies, 'options' | 'sender'> & { readonly config: Config; readonly keys: PushKeyStore },
): ComposedPush | undefined {
  const { config } = deps;
  const { mfa, profile, realms, listeners } = config;
  if (!mfa.methods.includes('push')) return undefined;
  const { keys: store, box, clock, trail } = deps;
  const made = (publicKey: string) => {
    const facts = { key_id: publicKey, use: 'push', algorithm: 'ES256' };
    return trail.append(trail.draft('key.created', undefined, { realm: '', outcome: 'SUCCESS', facts }));
  };
  const sender = new WebPushSender({
    key: () => ensureVapidKey({ store, box, now: clock.now(), made }),
    subject: config.push.subject,
    hosts: config.push.hosts,
    allowPrivateHosts: config.push.allow_private_hosts,
    timeoutMs: config.push.timeout,
    ...(config.push.ca_file === '' ? {} : { ca: readFileSync(config.push.ca_file, 'utf8') }),
  });
  const push = new Push({
    ...deps,
    sender,
    options: {
      digits: profile === 'nist' ? 6 : 2,
      limits: { maxPerWindow: config.push.max_per_window, maxUnanswered: config.push.max_unanswered },
      publicUrl: listeners.public.url.replace(/\/$/, ''),
      realms,
    },
  });
  return {
    push,
    async stop() {
      await push.stop();
      sender[Symbol.dispose]();
    },
  };
}
