// In which order the files of tests run.

/**
 * Those that take the longest, as they were seen to: what waits and what computes by turns, so that at no time all of
 * them do the same.
 */
const longest = [
  'test/shell-agent-crash.test.ts',
  'test/dns-api.test.ts',
  'test/shell-agent-trust.test.ts',
  'test/reliability/renewal-info.test.ts',
  'test/fleet/year.test.ts',
  'test/systemd-boot.test.ts',
  'test/container.test.ts',
  'test/deployment.test.ts',
  'test/cli-certs.test.ts',
  'test/gateway.test.ts',
  'test/crash/managed-kill.test.ts',
  'test/hub.test.ts',
  'test/crash/kill.test.ts',
  'test/box-agent.test.ts',
  'test/crash/broken-writes.test.ts',
  'test/dns-apis.test.ts',
  'test/lacme-defects.test.ts',
  'test/managed.test.ts',
  'test/shell-agent-docs.test.ts',
  'test/accountd-keys.test.ts',
  'test/fleet/shell.test.ts',
  'test/managed-trouble.test.ts',
  'test/acme-account.test.ts',
  'test/doctor.test.ts',
  'test/cli-account.test.ts',
  'test/reliability/state-lost.test.ts',
  'test/enrolment.test.ts',
  'test/reliability/slow-ca.test.ts',
  'test/documentation.test.ts',
  'test/reliability/accounts.test.ts',
  'test/cli-documentation.test.ts',
  'test/hub-renewal.test.ts',
  'test/import-lacme.test.ts',
  'test/reliability/invalid-orders.test.ts',
  'test/shell-agent.test.ts',
  'test/reliability/fallback.test.ts',
  'test/cli-plan.test.ts',
  'test/reliability/clock.test.ts',
  'test/accountd.test.ts',
  'test/accountd-trouble.test.ts',
  'test/acme-sh.test.ts',
  'test/sign-bad-csr.test.ts',
  'test/accountd-lacme.test.ts',
  'test/reliability/stampede.test.ts',
  'test/dns-exec-runs.test.ts',
  'test/replaces.test.ts',
  'test/installer-trouble.test.ts',
  'test/parts.test.ts',
  'test/launcher-trouble.test.ts',
  'test/launcher-reload.test.ts',
  'test/installer.test.ts',
  'test/firewall.test.ts',
]

/** All others after them, by the alphabet. */
export function longestFirst(files: readonly string[]): string[] {
  const rank = (file: string) => (longest.includes(file) ? longest.indexOf(file) : longest.length)
  return [...new Set(files)].sort((one, other) => rank(one) - rank(other) || (one < other ? -1 : 1))
}
