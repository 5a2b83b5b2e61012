import { testScenarios } from './scenario.ts'
import { wrongCertificates } from './wrong-certificates.ts'

testScenarios(wrongCertificates)
