import { join } from 'node:path'

/** The programs that we start as processes of their own: they lie where this one does, in a checkout or a release. */
export function programFiles(): { acmems: string; installer: string } {
  const here = import.meta.dirname
  return import.meta.filename.endsWith('.ts')
    ? { acmems: join(here, '..', 'main.ts'), installer: join(here, '..', 'install-main.ts') }
    : { acmems: join(here, 'acmems.js'), installer: join(here, 'acmems-install.js') }
}
