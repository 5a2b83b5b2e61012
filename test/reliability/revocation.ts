// Row 32: a certificate that must not be used any more.
import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { makeCsrs } from '../../bench/csrs.ts'
import { runCommand } from '../command.ts'
import * as faults from '../faults/scenarios.ts'
import { makeCsr } from '../host.ts'
import { until } from '../until.ts'
import { assertInvariants, ordersAt, type Rig, startRig } from './rig.ts'
import { type Figures, rounded, type Scenario } from './scenario.ts'

const name = 'leaked.example.test'

async function statusAtCa({ pebble }: Rig, serial: string): Promise<string> {
  return await pebble.manage(`/cert-status-by-serial/${serial.toLowerCase()}`)
}

function revoke(rig: Rig, serial: string) {
  return runCommand(['certs', 'revoke', serial, '--reason', 'keyCompromise', '--yes', join(rig.folder, 'acmems.ini')])
}

async function runCompromise(): Promise<Figures> {
  await using rig = await startRig()
  const leaked = makeCsr({ names: [name] })
  const first = await rig.ask(leaked)
  assert.equal(first.status, 200, first.text)
  // The host has a new key and a new certificate before the old one is revoked.
  const replacement = makeCsr({ names: [name] })
  const second = await rig.ask(replacement)
  assert.equal(second.status, 200, second.text)
  const serial = new X509Certificate(first.text).serialNumber
  const startedMs = performance.now()
  const result = await revoke(rig, serial)
  assert.equal(result.code, 0, result.err)
  const revokedMs = performance.now() - startedMs
  await until('the revoked one not to be answered', async () => (await rig.ask(leaked)).status !== 200)
  const goneMs = performance.now() - startedMs
  assert.match(await statusAtCa(rig, serial), /"Revoked"/)
  const refused = await rig.ask(leaked)
  assert.equal(refused.status, 400, refused.text)
  assert.match(refused.text, /compromised/)
  assert.equal(ordersAt(rig.pebble), 2, 'nothing is ordered for that key')
  await rig.restart()
  assert.equal((await rig.ask(leaked)).status, 400, 'after a restart, too')
  await assertInvariants(rig, { kept: new Map([[replacement, second.text]]) })
  return {
    'time until the CA has revoked it (s)': rounded(revokedMs / 1000),
    'time until it is not answered any more (s)': rounded(goneMs / 1000),
    'orders for the blocked key': 0,
  }
}

async function runAlready(): Promise<Figures> {
  await using rig = await startRig({ rules: [] })
  const [csr = ''] = makeCsrs('revoked', 1)
  const first = await rig.ask(csr)
  assert.equal(first.status, 200, first.text)
  rig.setRules(faults.alreadyRevoked())
  const result = await revoke(rig, new X509Certificate(first.text).serialNumber)
  assert.equal(result.code, 0, result.err)
  await until('the revoked one not to be answered', async () => (await rig.ask(csr)).text !== first.text)
  return { 'exit status of the command': result.code ?? -1 }
}

export const revocation: readonly Scenario[] = [
  {
    row: 32,
    fault: 'a key is compromised: the host has a new one, the old certificate is revoked',
    expected: 'revoked at the CA, not answered any more; no certificate for that key again, also after a restart',
    run: runCompromise,
  },
  {
    row: 32,
    fault: 'the CA says alreadyRevoked',
    expected: 'as if it had just been revoked',
    run: runAlready,
  },
]
