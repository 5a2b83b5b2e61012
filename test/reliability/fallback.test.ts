import { fallback } from './fallback.ts'
import { testScenarios } from './scenario.ts'

testScenarios(fallback)
