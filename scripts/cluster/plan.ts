import { join } from 'node:path';

/** What `npm run cluster` was asked for; made and checked by scripts/cluster.mjs. */
export interface Plan {
  readonly sidecars: number;
  readonly redis: 'single' | 'sentinel' | 'cluster' | 'off';
  readonly portOffset: number;
  /** Absolute. */
  readonly directory: string;
  readonly fresh: boolean;
}

/** One sidecar's place in the cluster. */
export interface Place {
  /** A, B, C … */
  readonly name: string;
  readonly directory: string;
  readonly ports: { readonly grpc: number; readonly http: number; readonly admin: number };
}

export function placesOf({ sidecars, portOffset, directory }: Plan): readonly Place[] {
  return Array.from({ length: sidecars }, (_, index) => {
    const name = String.fromCharCode('A'.charCodeAt(0) + index);
    const ports = { grpc: 50_051 + 10 * index, http: 8_080 + 10 * index, admin: 9_090 + index };
    return {
      name,
      directory: join(directory, `sidecar-${name.toLowerCase()}`),
      ports: {
        grpc: ports.grpc + portOffset,
        http: ports.http + portOffset,
        admin: ports.admin + portOffset,
      },
    };
  });
}
