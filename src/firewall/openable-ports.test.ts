import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseIni } from '../config/ini.ts'
import { openablePorts } from './openable-ports.ts'
import { describeOpening } from './opening.ts'

const kinds = [
  { type: 'http01', protocols: ['tcp'], usual: '0.0.0.0:1380 [::]:1380' },
  { type: 'dns01-server', protocols: ['tcp', 'udp'], usual: '0.0.0.0:1353' },
] as const

function openable(text: string): Record<string, string[]> {
  const ports = openablePorts(parseIni(text, 'a.ini').sections, kinds, { name: 'http', type: 'http01' })
  return Object.fromEntries([...ports].map(([port, openings]) => [port, openings.map(describeOpening)]))
}

test('what may be opened is what validators come to, and no more', () => {
  assert.deepEqual(
    openable('[mgmt]\nlistener = 0.0.0.0:1313\n[verification "d"]\ntype = dns01-server\nlistener = 192.0.2.1:53\n'),
    {
      53: ['tcp port 53 of 192.0.2.1', 'udp port 53 of 192.0.2.1'],
      1380: ['tcp port 1380 of IPv4', 'tcp port 1380 of IPv6'],
    },
  )
  // Nobody outside comes to those: asked for, they need nothing.
  assert.deepEqual(
    openable('[verification "http"]\ntype = http01\nlistener = 127.0.0.1:80 [::1]:80\nlistener = [fe80::1%eth0]:81\n'),
    {
      80: [],
      81: ['tcp port 81 of fe80::1'],
    },
  )
  assert.deepEqual(
    openable(
      '[verification "http"]\ntype = http01\nlistener =\n[verification "e"]\ntype = dns01-exec\nlistener = 0.0.0.0:22\n',
    ),
    {},
  )
  for (const listener of ['fd:3', 'www.example.test:80'])
    assert.throws(
      () => openable(`[verification "http"]\ntype = http01\nlistener = ${listener}\n`),
      /a\.ini:3: listener = /,
    )
})
