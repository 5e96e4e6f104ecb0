import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DATABASE, ROLES } from '../servers/central-database.ts';
import type { PostgresServer } from '../servers/postgres.ts';
import { MASTER_NAME } from '../servers/redis-sentinel.ts';
import type { Place, Plan } from './plan.ts';

/** What sidecars have to know of Redis. */
export interface RedisAccess {
  readonly addresses: readonly string[];
  readonly password: string;
}

function keep(file: string, text: string): string {
  writeFileSync(file, text, { mode: 0o600 });
  return file;
}

const quoted = (text: string) => JSON.stringify(text);

function redisSection(plan: Plan, access: RedisAccess | undefined, passwordFile: string): string {
  if (access === undefined) return 'redis:\n  mode: "off"\n';
  const lines = [
    'redis:',
    `  mode: ${plan.redis}`,
    `  addresses: [${access.addresses.map(quoted).join(', ')}]`,
    `  password: { file: ${quoted(passwordFile)} }`,
  ];
  if (plan.redis === 'sentinel')
    lines.push(`  master_name: ${MASTER_NAME}`, `  sentinel_password: { file: ${quoted(passwordFile)} }`);
  return `${lines.join('\n')}\n`;
}

/** Writes the secrets, and the settings of every sidecar as a person would. @returns The settings files in their order. */
export function writeSettings(
  plan: Plan,
  places: readonly Place[],
  postgres: PostgresServer,
  redis: RedisAccess | undefined,
): readonly string[] {
  const { directory } = plan;
  const stateUrl = keep(join(directory, 'postgres.url'), `${postgres.url(DATABASE, ROLES.state)}\n`);
  const auditUrl = keep(join(directory, 'postgres-audit.url'), `${postgres.url(DATABASE, ROLES.audit)}\n`);
  const passwordFile = join(directory, 'redis.password');
  if (redis) keep(passwordFile, `${redis.password}\n`);
  return places.map(({ name, directory: home, ports }) => {
    mkdirSync(home, { recursive: true, mode: 0o700 });
    return keep(
      join(home, 'sallyport.yaml'),
      `# Sidecar ${name} of the local cluster. Written anew at every start of \`npm run cluster\`.
data_dir: ${quoted(join(home, 'data'))}

listeners:
  grpc: { address: "127.0.0.1:${ports.grpc}" }
  http: { address: "127.0.0.1:${ports.http}" }
  admin: { address: "127.0.0.1:${ports.admin}" }

# The same for all of them: what one seals the others open.
keys:
  file: ${quoted(join(directory, 'keys.json'))}
operator:
  token_file: ${quoted(join(directory, 'operator.token'))}

# The truth. The second role may only add events to the trail.
postgres:
  url: { file: ${quoted(stateUrl)} }
  audit_url: { file: ${quoted(auditUrl)} }
  # On loopback; anywhere else the certificate is verified.
  tls: "off"

# Copies in front of it, and news from sidecar to sidecar.
${redisSection(plan, redis, passwordFile)}`,
    );
  });
}
