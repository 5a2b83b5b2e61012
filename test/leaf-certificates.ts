// Certificates of one name after another, made with openssl: what a server served before, and what it serves now.
import { execFileSync } from 'node:child_process'
import { createHash, X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Expected } from '../src/probe/verdict.ts'
import { parseCertificate } from '../src/x509/certificate.ts'

export type Leaf = { readonly certificateFile: string; readonly keyFile: string; readonly expected: Expected }

/** @param names as openssl has them: `DNS:www.example.org,IP:192.0.2.1` */
export function makeLeaf(
  folder: string,
  file: string,
  names: string,
  key: 'ec' | 'rsa' = 'ec',
  notBefore?: Date,
): Leaf {
  const [certificateFile, keyFile] = [join(folder, `${file}.pem`), join(folder, `${file}.key`)]
  const algorithm = key === 'ec' ? ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'] : ['rsa:2048']
  // openssl req makes certificates that begin now; `ca` can say when.
  const config = join(folder, `${file}.cnf`)
  writeFileSync(
    config,
    `[req]\ndistinguished_name = dn\n[dn]\n[ca]\ndefault_ca = c\n[c]\nnew_certs_dir = ${folder}
database = ${join(folder, `${file}.index`)}\nrand_serial = yes\ndefault_md = sha256\npolicy = p\nunique_subject = no
[p]\ncommonName = optional\n[leaf]\nbasicConstraints = critical,CA:FALSE\nsubjectAltName = ${names}\n`,
  )
  writeFileSync(join(folder, `${file}.index`), '')
  const run = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe' })
  const csr = join(folder, `${file}.csr`)
  run(
    'req',
    '-newkey',
    ...algorithm,
    '-nodes',
    '-keyout',
    keyFile,
    '-subj',
    `/CN=${file}`,
    '-config',
    config,
    '-out',
    csr,
  )
  const begin = (notBefore ?? new Date()).toISOString().replace(/[-:T]|\.\d+/g, '')
  run(
    ...['ca', '-selfsign', '-batch', '-notext', '-config', config, '-extensions', 'leaf', '-keyfile', keyFile],
    ...['-in', csr, '-out', certificateFile, '-startdate', begin, '-days', '30'],
  )
  const der = new X509Certificate(readFileSync(certificateFile)).raw
  const { identifiers, serial, notBeforeMs } = parseCertificate(der)
  const sha256 = createHash('sha256').update(der).digest('hex')
  return {
    certificateFile,
    keyFile,
    expected: { names: identifiers.map(({ value }) => value), serial, notBeforeMs, sha256 },
  }
}
