import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** A certificate for the loopback interface that vouches for itself, and its key. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
  readonly certFile: string;
  readonly keyFile: string;
}

/** Made for one run: none is kept anywhere. */
export async function makeCertificate(directory: string): Promise<Certificate> {
  const certFile = join(directory, 'server.crt');
  const keyFile = join(directory, 'server.key');
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc'];
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  const files = ['-keyout', keyFile, '-out', certFile, '-days', '2'];
  await promisify(execFile)('openssl', ['req', '-x509', ...key, ...names, ...files]).catch(
    (cause: unknown) => {
      throw new Error('openssl makes no certificate: apt-get install openssl', { cause });
    },
  );
  const read = (file: string) => readFileSync(file, 'utf8');
  return { cert: read(certFile), key: read(keyFile), certFile, keyFile };
}
