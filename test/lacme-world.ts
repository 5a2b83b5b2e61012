// lacme as Debian ships it, against Pebble: everything but its own web server, whose port would be root's.
import { execFileSync, spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { basename, join } from 'node:path'
import { perlOf } from './accountd-world.ts'
import type { Pebble } from './peers/pebble.ts'
import { needPeer, peersFolder } from './peers/peers.ts'

/** Serves the files of lacme's challenge directory where Pebble looks for them. */
export async function serveChallenges(folder: string, port: number): Promise<AsyncDisposable> {
  const server = createServer((request, response) => {
    const file = join(folder, basename(request.url ?? ''))
    const isThere = request.url?.startsWith('/.well-known/acme-challenge/') === true && existsSync(file)
    response.writeHead(isThere ? 200 : 404).end(isThere ? readFileSync(file) : '')
  })
  await new Promise<void>((done) => server.listen(port, '127.0.0.1', done))
  return {
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((done) => server.close(done))
    },
  }
}

/** @param accountd more of lacme.conf: `[accountd]` with how it is started; without, `socket` is asked */
export async function writeLacmeConfig(folder: string, pebble: Pebble, socket: string, accountd = ''): Promise<string> {
  const challenges = join(folder, 'challenges')
  mkdirSync(challenges, { recursive: true })
  chmodSync(challenges, 0o755)
  const client = perlOf(join(peersFolder(), 'root/usr/libexec/lacme/client'))
  const words = ['/usr/bin/env', `PERL_LWP_SSL_CA_FILE=${pebble.caFile}`, client.command, ...client.args]
  const config = join(folder, 'lacme.conf')
  writeFileSync(join(folder, 'root.pem'), await pebble.root())
  writeFileSync(
    config,
    `config-certs = lacme-certs.conf\n[client]\nsocket = ${socket}\nuser =\ngroup =\nserver = ${pebble.directoryUrl}\ncommand = ${words.join(' ')}\n[webserver]\nlisten =\nchallenge-directory = ${challenges}\nuser =\ngroup =\n${accountd}`,
  )
  return config
}

/** The section of one certificate, with a key of its own. */
export function writeLacmeCertificate(folder: string, name: string): string {
  const key = join(folder, `${name}.key`)
  execFileSync('openssl', ['genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', key], {
    stdio: 'ignore',
  })
  writeFileSync(
    join(folder, 'lacme-certs.conf'),
    `[${name}]\ncertificate-key = ${key}\ncertificate-chain = ${join(folder, `${name}.pem`)}\nsubject = /CN=${name}\nsubjectAltName = DNS:${name}\nCAfile = ${join(folder, 'root.pem')}\n`,
  )
  return join(folder, `${name}.pem`)
}

export function runLacme(args: readonly string[]): Promise<{ code: number | null; out: string; err: string }> {
  const { command, args: before } = perlOf(needPeer('lacme').path)
  return new Promise((done) => {
    const child = spawn(command, [...before, ...args], {
      env: { PATH: '/usr/bin:/bin', HOME: '/root', TMPDIR: '/tmp' },
    })
    let [out, err] = ['', '']
    child.stdout.on('data', (chunk) => {
      out += String(chunk)
    })
    child.stderr.on('data', (chunk) => {
      err += String(chunk)
    })
    child.stdin.end()
    child.on('close', (code) => done({ code, out, err }))
  })
}
