// What validators ask in (f), and the answers to it.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { DatabaseSync } from 'node:sqlite'
import { placeOf } from '../src/state/places.ts'
import type { DnsLoadOrder, DnsLoadResult } from './dns-load-generator.ts'

export const atOnce = 32
const token = 'token-of-the-benchmark'
const host = 'host.example.org'
export const value = 'v'.repeat(43)

export const getRequest = Buffer.from(
  `GET /.well-known/acme-challenge/${token} HTTP/1.1\r\nHost: ${host}\r\n\r\n`,
).toString('latin1')

const packet = makeQuestion(`${host}.acme.example.net`)
export const questionBytes = packet.length
export const answerBytes = questionBytes + 12 + 44
export const question = packet.toString('base64')

export function answersConfig(ports: { readonly dns: number; readonly http: number }): string {
  return `[verification "dns"]
type = dns01-server
listener = 127.0.0.1:${ports.dns}
zone = acme.example.net
ns = ns1.example.net
[verification "http"]
type = http01
listener = 127.0.0.1:${ports.http}
`
}

/** The record that is asked for, and others around it, of both kinds. */
export function fill(database: DatabaseSync, records: number): void {
  const insert = database.prepare(
    'insert or replace into answers (type, token, host, key_authorization, expires_at_ms, place) values (?, ?, ?, ?, ?, ?)',
  )
  const expiresAtMs = Date.now() + 3_600_000
  database.exec('begin immediate')
  insert.run('dns-01', token, `_acme-challenge.${host}`, value, expiresAtMs, placeOf(`_acme-challenge.${host}`))
  insert.run('http-01', token, host, value, expiresAtMs, null)
  for (let i = 1; i < records; i++) {
    const name = `host-${i}.example.org`
    const owner = `_acme-challenge.${name}`
    if (i % 2 === 0) insert.run('http-01', `${token}-${i}`, name, value, expiresAtMs, null)
    else insert.run('dns-01', `${token}-${i}`, owner, value, expiresAtMs, placeOf(owner))
  }
  database.exec('commit')
}

function makeQuestion(name: string): Buffer {
  const labels = name.split('.').flatMap((label) => [label.length, ...Buffer.from(label)])
  return Buffer.from([0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, ...labels, 0, 0, 16, 0, 1])
}

export function startDnsLoadGenerator(): AsyncDisposable & { run(order: DnsLoadOrder): Promise<number> } {
  const child = fork(join(import.meta.dirname, 'dns-load-generator.ts'))
  return {
    async run(order) {
      const answer = once(child, 'message') as Promise<[DnsLoadResult]>
      child.send(order)
      const [{ answers, elapsedMs, failures }] = await answer
      if (failures > 0 || answers === 0) throw new Error(`of ${answers} DNS answers ${failures} were not as expected`)
      return (answers * 1000) / elapsedMs
    },
    async [Symbol.asyncDispose]() {
      child.kill()
    },
  }
}
