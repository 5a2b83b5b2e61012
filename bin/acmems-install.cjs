#!/usr/bin/env node
// The part of acmems that is root, a program of its own: dist/acmems-install.js.
'use strict'

require('./acmems.cjs')
