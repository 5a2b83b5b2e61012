// A [certificate] section as the configuration makes it.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { CertificateSection } from '../src/config/config.ts'
import { loadConfig } from '../src/config/load.ts'
import { builtinPlugins } from '../src/plugins/builtin.ts'

/** @param text what stands in the section */
export async function loadSection(text: string, name = 'web'): Promise<CertificateSection> {
  const folder = mkdtempSync(join(tmpdir(), 'acmems-section-'))
  try {
    const file = join(folder, 'acmems.ini')
    writeFileSync(file, `[account]\ntype = local\n[certificate "${name}"]\n${text}\n`)
    const sources = { environment: {}, assignments: [], lenient: false, plugins: builtinPlugins }
    const [section] = (await loadConfig({ ...sources, files: [file] })).certificates
    if (section === undefined) throw new Error('there is no such section')
    return section
  } finally {
    rmSync(folder, { recursive: true })
  }
}
