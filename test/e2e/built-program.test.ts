import { copyFileSync, existsSync, mkdtempSync, renameSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { SessionService } from '#src/gen/sallyport/v1/session_pb.js';
import { projectRoot, Sidecar } from '../support/sidecar.ts';

describe('the built program', () => {
  it('reads a YAML file, locates addresses and names browsers, all by libraries that it loads when needed', async () => {
    const settings = join(mkdtempSync(join(tmpdir(), 'sallyport-settings-')), 'sallyport.yaml');
    writeFileSync(
      settings,
      `geo:\n  file: ${join(projectRoot, 'test/fixtures/geolite2-city-test.mmdb')}\nsessions:\n  cap: 2\nrealms: [shop, bank]\n`,
    );
    await using sidecar = await Sidecar.start({ args: ['-c', settings] });
    const client = sidecar.client();
    const { session } = await client.unary(SessionService.method.createSession, {
      subject: 'ada',
      client: {
        ipAddress: '81.2.69.142',
        userAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0',
      },
    });
    expect(session).toMatchObject({
      realm: 'shop',
      device: { browser: 'Firefox 145', operatingSystem: 'Linux', location: { countryCode: 'GB', city: 'London' } },
    });
    for (let count = 0; count < 3; count += 1)
      await client.unary(SessionService.method.createSession, { subject: 'ada' });
    const { sessions } = await client.unary(SessionService.method.listSessions, { subject: 'ada' });
    expect(sessions).toHaveLength(2);
  });

  it('says in one line what is wrong with a setting, where, and what was meant', async () => {
    const settings = join(mkdtempSync(join(tmpdir(), 'sallyport-settings-')), 'sallyport.yaml');
    writeFileSync(settings, 'sesions:\n  cap: 5\n');
    await using sidecar = await Sidecar.spawn({ args: ['-c', settings] });
    expect(await sidecar.exited).toEqual({ code: 78, signal: null });
    expect(sidecar.stderr).toContain('sallyport.yaml:1:1');
    expect(sidecar.stderr).toContain('sessions');
  });

  it('says in one line that a port is taken, a socket is somebody else’s, or the data directory cannot be made', async () => {
    await using first = await Sidecar.start();
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-start-'));
    const file = join(folder, 'precious');
    writeFileSync(file, 'precious');
    const refusals = [
      {
        args: ['--set', `listeners.grpc.address=${first.grpcAddress}`],
        says: `cannot listen on ${first.grpcAddress}: something else`,
      },
      { args: ['--set', `listeners.grpc.socket=${file}`], says: `${file} exists and is not a socket` },
      { args: ['--data-dir', file], says: `the data directory ${file} cannot be made` },
    ];
    for (const { args, says } of refusals) {
      await using sidecar = await Sidecar.spawn({ args });
      expect(await sidecar.exited).toEqual({ code: 69, signal: null });
      expect(sidecar.stderr).toContain(`sallyport: ${says}`);
      expect(sidecar.stderr).not.toMatch(/internal error|\n\s+at /);
    }
  });

  it('makes no new key ring for a data directory whose own is gone, and takes no other one for it', async () => {
    await using first = await Sidecar.start();
    await first.stop();
    const ring = join(first.dataDir, 'keys.json');
    renameSync(ring, `${ring}.away`);
    await using lost = await Sidecar.spawn({ dataDir: first.dataDir });
    expect(await lost.exited).toEqual({ code: 78, signal: null });
    expect(lost.stderr).toContain(`key ring: ${ring} is gone`);
    expect(existsSync(ring)).toBe(false);

    await using other = await Sidecar.start();
    copyFileSync(join(other.dataDir, 'keys.json'), ring);
    await using exchanged = await Sidecar.spawn({ dataDir: first.dataDir });
    expect(await exchanged.exited).toEqual({ code: 78, signal: null });
    expect(exchanged.stderr).toContain('was sealed under another key ring');

    renameSync(`${ring}.away`, ring);
    await using again = await Sidecar.start({ dataDir: first.dataDir });
    expect(again.child.exitCode).toBeNull();
  });
});
