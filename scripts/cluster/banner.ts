import type { LocalCluster } from './local-cluster.ts';
import type { Plan } from './plan.ts';
import { shown } from './problem.ts';

/** The journey of one session through three sidecars; fewer share the parts. */
function tour(cluster: LocalCluster): readonly string[] {
  const at = (index: number) => {
    const sidecar = cluster.sidecars[index % cluster.sidecars.length];
    return { name: sidecar?.name ?? '', address: `127.0.0.1:${sidecar?.ports.grpc ?? 0}` };
  };
  const [a, b, c] = [at(0), at(1), at(2)];
  const call = (address: string, method: string, json: string) =>
    `grpcurl -plaintext -H 'x-sallyport-client: cli' -d ${json} ${address} sallyport.v1.SessionService/${method}`;
  return [
    `# a session made at ${a.name}`,
    `TOKEN=$(${call(a.address, 'CreateSession', `'{"subject": "ada"}'`)} | jq -r .token)`,
    `# is good at ${b.name}`,
    call(b.address, 'ValidateSession', `'{"token": "'$TOKEN'"}'`),
    `# is ended at ${c.name}`,
    call(c.address, 'RevokeSession', `'{"token": "'$TOKEN'"}'`),
    `# and is refused at ${a.name}`,
    call(a.address, 'ValidateSession', `'{"token": "'$TOKEN'"}'`),
  ];
}

/** PostgreSQL has a process for each connection, and they go on when only the first is stopped. */
function outages({ postgres, redis }: LocalCluster): readonly string[] {
  const frozen = (what: string, pids: string) => `kill -STOP ${pids}    # ${what} freezes; kill -CONT for back again`;
  const servers = redis?.servers.map(({ pid }) => pid).join(' ');
  return [
    ...(servers === undefined ? [] : [frozen('Redis', servers)]),
    frozen('PostgreSQL', `${postgres.pid} $(pgrep -P ${postgres.pid})`),
  ];
}

/** What a person sees when everything runs. */
export function renderBanner(plan: Plan, cluster: LocalCluster): string {
  const { sidecars, postgres, redis, operatorTokenFile } = cluster;
  const lines = [
    '',
    `Sallyport runs ${sidecars.length === 1 ? 'one sidecar' : `${sidecars.length} sidecars`} over one state. Settings, logs and data are in ${shown(plan.directory)}`,
    '',
    ...sidecars.map(
      ({ name, ports }) =>
        `  ${name}  gRPC 127.0.0.1:${ports.grpc}   HTTP http://127.0.0.1:${ports.http}   admin http://127.0.0.1:${ports.admin}`,
    ),
    `  PostgreSQL  127.0.0.1:${postgres.port}, database sallyport (URL in ${shown(`${plan.directory}/postgres.url`)})`,
    `  Redis       ${redis ? redis.access.addresses.join(', ') : 'off'}`,
    `  operator    Bearer $(cat ${shown(operatorTokenFile)})`,
    '',
    'Try next, in another terminal:',
    '',
    ...tour(cluster).map((line) => `  ${line}`),
    '',
    'Or take something away, and ask again:',
    '',
    ...outages(cluster).map((line) => `  ${line}`),
    '',
    'Ctrl-C stops everything; the data stays for the next time.',
  ];
  return `${lines.join('\n')}\n`;
}
