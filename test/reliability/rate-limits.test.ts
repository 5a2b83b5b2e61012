import { rateLimits } from './rate-limits.ts'
import { testScenarios } from './scenario.ts'

testScenarios(rateLimits)
