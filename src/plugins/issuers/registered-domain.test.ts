import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { registeredDomain } from './registered-domain.ts'

const dns = (value: string) => registeredDomain({ type: 'dns', value })
const ip = (value: string) => registeredDomain({ type: 'ip', value })

test('names count by the Public Suffix List, private suffixes included', () => {
  const expected: readonly (readonly [string, string])[] = [
    ['example.com', 'example.com'],
    ['www.example.com', 'example.com'],
    ['*.example.com', 'example.com'],
    ['*.a.b.example.com', 'example.com'],
    ['a.b.example.co.uk', 'example.co.uk'],
    ['www.example.github.io', 'example.github.io'],
    ['example.github.io', 'example.github.io'],
    // Exceptions and wildcards of the list.
    ['www.ck', 'www.ck'],
    ['a.b.something.ck', 'b.something.ck'],
    // Names that no public CA certifies still count somewhere.
    ['host7.intern.example', 'intern.example'],
    ['co.uk', 'co.uk'],
    ['localhost', 'localhost'],
  ]
  for (const [name, domain] of expected) assert.equal(dns(name), domain, name)
})

test('an IPv4 address counts as itself, an IPv6 address as its /64', () => {
  assert.equal(ip('192.0.2.7'), '192.0.2.7')
  const expected: readonly (readonly [string, string])[] = [
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2::6', '2001:db8:1:2::/64'],
    ['2001:db8::6', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['2001:db8:1:2:3:4::', '2001:db8:1:2::/64'],
    ['::', '0:0:0:0::/64'],
  ]
  for (const [address, network] of expected) assert.equal(ip(address), network, address)
})

test('a name and its wildcard count together, and below the same domain everything does', () => {
  const label = fc.stringMatching(/^[a-z][a-z0-9]{0,8}$/)
  fc.assert(
    fc.property(label, fc.array(label, { maxLength: 4 }), (domain, labels) => {
      const name = [...labels, domain, 'com'].join('.')
      // Some names below com are public suffixes themselves; there one label more counts.
      const registered = dns(name)
      assert.ok(name === registered || name.endsWith(`.${registered}`))
      assert.equal(dns(`*.x.${name}`), dns(`x.${name}`))
      assert.equal(dns(registered), registered)
    }),
  )
})

test('two addresses share a bucket exactly when their first four groups are the same', () => {
  const group = fc.nat(0xffff).map((value) => value.toString(16))
  const groups = (length: number) => fc.array(group, { minLength: length, maxLength: length })
  fc.assert(
    fc.property(groups(4), groups(4), groups(4), groups(4), (network, other, one, two) => {
      const at = (head: string[], tail: string[]) => ip([...head, ...tail].join(':'))
      assert.equal(at(network, one), at(network, two))
      assert.equal(at(network, one) === at(other, one), network.join() === other.join())
    }),
  )
})
