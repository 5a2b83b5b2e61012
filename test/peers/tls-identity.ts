// A throw-away CA and a server certificate signed by it, for peers that listen with TLS on loopback.
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { needPeer } from './peers.ts'

const run = promisify(execFile)
const NEW = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -days 30 -config tls.cnf'

export type TlsIdentity = { readonly caFile: string; readonly certificateFile: string; readonly keyFile: string }

/** Made with openssl and not with our own code: a fault of ours must not be able to hide itself. */
export async function makeTlsIdentity(
  folder: string,
  names = 'DNS:localhost,IP:127.0.0.1,IP:::1',
): Promise<TlsIdentity> {
  const openssl = needPeer('openssl')
  const file = (name: string) => join(folder, name)
  // In the folder, so that no argument has a blank in it.
  const call = (line: string) =>
    run(openssl.path, line.split(' '), { cwd: folder, env: { ...process.env, ...openssl.env } })
  // A configuration of its own: distributions differ in what their openssl.cnf adds to a request.
  writeFileSync(
    file('tls.cnf'),
    `[req]
distinguished_name = dn
prompt = no
[dn]
CN = acmems test peer
[ca]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = ${names}
`,
  )
  await call(`req -x509 -subj /CN=acmems-test-peers-CA -extensions ca -keyout tls-ca.key -out tls-ca.pem ${NEW}`)
  await call(`req -keyout tls.key -out tls.csr ${NEW}`)
  const signed = '-CA tls-ca.pem -CAkey tls-ca.key -extfile tls.cnf -extensions leaf -sha256 -days 30'
  await call(`x509 -req -in tls.csr -out tls.pem -set_serial ${Date.now()} ${signed}`)
  return { caFile: file('tls-ca.pem'), certificateFile: file('tls.pem'), keyFile: file('tls.key') }
}
