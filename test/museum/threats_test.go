package museum

// threat is a way in which secrets are lost, what answers it, and the tests that prove the answer.
type threat struct {
	part, what, answer string
	tests              string // "<package>: <test> <test> …", packages parted by semicolons
}

var threats = []threat{
	{
		"Destination", "addresses that are not for everybody: private, loopback, link-local, metadata",
		"every address that a name resolves to is judged, and the one that is dialled once more; IPv4 inside IPv6 is judged too",
		"internal/dial/iana: TestTheTableIsThatOfTheRegistries; internal/dial: TestClassify TestListedAddresses TestClassifyAgreesWithASecondTable TestResolveJudgesAllAnswers TestConnectJudgesAgain TestSoakOfAddressesAgainstTwoOracles FuzzClassify; test/e2e: TestRefusals",
	},
	{
		"Destination", "a name server that changes its answer",
		"one resolution for each decision; one refused answer refuses all; the connection goes to what was judged",
		"internal/dial: TestRebindingReachesNothing; internal/proxy: TestOnlyTheJudgedAddressIsDialled TestADialOfAnythingElseThanWasJudgedConnectsNowhere TestAKeptConnectionServesNobodyWhoIsRefused; caddymodule: TestAReloadJudgesDestinationsAnew",
	},
	{
		"Destination", "odd spellings of addresses and hosts",
		"one strict canonical form, read once, for rules and requests alike",
		"policy: TestCanonicalHost TestRefusedHosts FuzzHost TestWebPlatformURLs TestWebPlatformNames TestParseAbsolute TestRefusedTargets TestParseOrigin TestParseAuthority FuzzParseAbsolute TestTheAlphabetOfAHost TestARefusedHostSaysWhatIsWrong TestNaughtyStrings TestSoakOfSpellings FuzzParseOrigin FuzzParseAuthority",
	},
	{
		"Destination", "Host, request line, SNI and dialled address that disagree",
		"one value, fixed by the decision; what the app says in Host does not count in proxy mode",
		"test/e2e: TestPorts TestRouteMode TestGatewayOverHTTP2; internal/proxy: TestFixedRoutesRefuseEveryOtherWay TestOneDestinationInDialSNIHostAndAudit TestADialOfAnythingElseThanWasJudgedConnectsNowhere",
	},
	{
		"Destination", "wildcards and paths that admit too much",
		"compared label by label and segment by segment; no regular expression, no public suffix; ambiguous paths are refused",
		"policy: TestParseRule TestRefusedRules TestNoWildcardSpansAPublicSuffix TestWildcardStopsAtPublicSuffixes FuzzParseRule TestAdmit TestAdmitAgreesWithTheModel TestPlainPath TestWildcardsAgainstTheWholePublicSuffixList TestTheAlphabetOfARulesPath; internal/proxy: TestThePathThatIsJudgedIsThePathThatIsSent TestAnyPathArrivesByteForByte TestOverridesGoOnlyWhereTheRuleIsOpen",
	},
	{
		"Destination", "redirects with the credential in the hand", "never followed",
		"test/museum: TestMuseum; test/e2e: TestExactBytesOfAnAnswer; internal/proxy: TestNoRedirectIsFollowed",
	},
	{
		"Destination", "cleartext, weak TLS, certificates of others",
		"https unless a rule says http; TLS 1.2 at least; nothing switches verification off; pools and sessions kept apart by scope and reach",
		"test/e2e: TestRefusals TestPorts; internal/proxy: TestADestinationThatCannotBeVerifiedGetsNoByte TestScopesShareNoConnection TestScopesShareNoSession TestPoolsAreApartByScopeReachAndIssue",
	},
	{
		"Destination", "certificates that were taken back",
		"lists that the operator gives and answers that are stapled are judged, also when a session is resumed; an old or broken list refuses; a certificate that demands a staple is refused without",
		"internal/revocation: TestACertificateIsJudgedByTheListsOfItsIssuer TestAStapleIsJudged TestAnIssuerThatHadAListIsRefusedWithoutOne TestABrokenListCountsForAMomentAndThenRefuses TestAResumedSessionIsJudgedAgain TestOneClearChainIsEnoughAndNoChainIsNot; internal/proxy: TestAListThatChangesEndsConnectionsAndSessions; test/e2e: TestARevokedDestinationGetsNothing",
	},
	{
		"Destination", "proxies and roots out of the environment, and authentication of connections",
		"the environment has no say; NTLM and Negotiate pass back to the app and are not sent on",
		"test/e2e: TestTheEnvironmentSendsNoSecretElsewhere; internal/proxy: TestAChallengePassesBackAndNothingIsTriedAgain",
	},
	{
		"Message", "fields that strip, double or imitate the credential",
		"hop-by-hop and nominated fields go first, then every alias of the injected field; the credential is written last",
		"test/abuse: TestExactlyOneCredentialArrives; internal/proxy: TestExactlyOneInjectedField TestNominatedFieldsGoWhateverTheCredentialAllows TestWhatTheAppSendsOfOursOrOfAProxyNeverArrives; test/e2e: TestExactBytesOfARequest",
	},
	{
		"Message", "requests hidden in others, on both sides",
		"one parser, strict about framing; what goes on is framed anew; nothing behind a chunked or unread request is served",
		"test/abuse: TestEveryAttackAtEveryServer; internal/proxy: TestTheRestOfABodyIsNeverARequest TestOnlyALengthThatHoldsComesBack TestNoLengthComesBackAsATrailer",
	},
	{
		"Message", "tunnels: Upgrade, h2c, CONNECT, TRACE",
		"Upgrade is dropped but for a WebSocket that the credential allows, TRACE refused, and inside CONNECT each request is judged on its own",
		"test/abuse: TestEveryAttackAtEveryServer; test/e2e: TestTunnel TestWebSockets TestWebSocketsAreCut; internal/proxy: TestPlainHTTPInsideATunnel TestATLSHelloInATunnelIsRefusedInClear TestAnUnasked101IsRefused TestARequestBecomesAWebSocketOnlyWhereRowAndSealAllow TestOnlyTheExactWishIsAWebSocket TestAnAnswerOf101MustBeTheRightOne TestAWebSocketEndsWithItsLeave TestAWebSocketEndsWhenItsCredentialExpires",
	},
	{
		"Message", "a destination that repeats the secret, speaks for us, or sends what is no answer",
		"fields and trailers are scrubbed, bodies and WebSocket messages where the credential says so; what speaks for us is removed, the rest is refused or cut, and the log quotes nobody",
		"test/abuse: TestEveryMisanswer; internal/proxy: TestTheDestinationCannotSpeakForUsNorEchoTheSecret TestTheSecretDoesNotComeBackAsTheNameOfAField TestBodiesComeBackWithoutTheSecretAndAsLongAsTheyWere TestMessagesComeBackWithoutTheSecret FuzzForeignProxyStatus TestTheLogNeverQuotesADestination TestAnAnswerThatCannotBeScrubbedIsRefused TestARequestWhoseAnswerIsScrubbedAsksForPlainWholeBytes; internal/scrub: TestATextSplitAnywhereIsScrubbedLikeTheWhole TestTheSecretIsFoundInEveryRendering FuzzAReaderIsTheOracle FuzzFramesKeepTheirForm; test/e2e: TestTrailers TestTheLogQuotesNoDestination TestBodiesAreScrubbedInConstantMemory TestNginxIsScrubbed",
	},
	{
		"Message", "control bytes and blanks in a secret", "refused when it is written",
		"internal/custody: TestSecretsThatAreRefused TestNaughtySecretsGoOutAsTheyAreOrNotAtAll; cmd/keybearer: TestSecretText; test/museum: TestMuseum; policy: TestAHeaderIsAToken TestHeadersOfTheConnectionHoldNoSecret TestKindHeaderAndPrefixFitTogether",
	},
	{
		"Message", "the caller's token, cookies and trace context at the destination",
		"a token of ours goes no further whatever field it stands in; cookies and trace context only where the credential allows",
		"internal/proxy: TestTokensOfOursAreFoundAnywhere TestCookiesAndTracePassOnlyWhereTheCredentialAllows",
	},
	{
		"Rest, memory, telemetry", "secrets in logs, errors, answers, metrics, panics",
		"a secret prints as nothing under every verb; read models have no place for one; errors never repeat what they were given",
		".: TestASecretDoesNotLeaveByFormatting; internal/admin: TestReadModelsHoldNoSecret TestErrorsNeverEcho TestSecretsNeverComeBack; test/e2e: TestNoSecretIsLeftAnywhere TestSweepFinds TestTheLogQuotesNoDestination TestACrashLeavesNoSecret",
	},
	{
		"Rest, memory, telemetry", "configuration dumps, cores, debuggers and swap",
		"nothing secret stands in the configuration; the process cannot be dumped or traced and makes no core; keys lie in locked memory, and all memory where it may",
		"internal/process: TestFindings; internal/localkeys: TestKeysLieInLockedMemory TestMemoryOfKeysIsUsedAgain; test/e2e: TestTheServersMemoryIsItsOwn TestAllMemoryIsLockedWhereItMayBe TestACrashLeavesNoSecret TestTheUnitIsClosed TestTheServerNeedsNoOtherSystemCalls",
	},
	{
		"Rest, memory, telemetry", "ciphertext moved to another row, scope or version",
		"what is sealed is bound to where it belongs, and carries its own rules",
		".: TestTheSealContextDependsOnEveryField; internal/localkeys: TestOnlyCanonicalTextOpens TestSoakMovedCiphertexts TestWycheproof; internal/custody: TestSecretStaysWhereItWasGivenFor; internal/proxy: TestASafeFitsOneCiphertextUnderOneKey; internal/transit: TestSoakMovedCiphertexts TestAnOldSnapshotOfVaultOpensNothingWithoutTheShare",
	},
	{
		"Rest, memory, telemetry", "old secrets in files of the database",
		"only ciphertext is ever written, and deleted pages are overwritten",
		"internal/sqlstore: TestNoOldCiphertextInFiles TestPragmas",
	},
	{
		"Rest, memory, telemetry", "a restored backup that revives what was revoked",
		"a number outside the store says how far its history went; older histories are refused until they are accepted",
		"internal/anchor: TestARestoredBackupIsRefusedUntilItIsAccepted TestAnEmptiedStoreIsRefused TestNothingIsCommittedThatCannotBeAnchored TestASharedStoreThatIsRestoredWhileItIsServedFrom TestADamagedFileIsRefused TestSoakKilledBetweenCommitAndAnchor; internal/custody: TestEveryChangeIsAnchored; test/e2e: TestARestoredBackupRevivesNoRevokedCredential; test/fleet: TestARestoredPostgresRevivesNoRevokedGrant",
	},
	{
		"Identity and policy", "a credential of another scope, or without a grant",
		"found by scope and name alone; the caller's scope and grant come before everything that could tell it something",
		"policy: TestDecide TestDecideAgreesWithTheModel TestZeroValuesDeny TestForbiddenIsOneAnswer; internal/custody: TestPermissions TestHiddenIsAbsent TestSoakPermissionsAgainstCedar; internal/proxy: TestAHeaderCanOnlyNarrow",
	},
	{
		"Identity and policy", "enumeration by what is answered, and how soon", "one refusal for all that a caller may not know, to the byte, and after the same time",
		"internal/proxy: TestForbiddenLooksTheSameWhateverTheReason TestSoakTimingOfForbidden; test/e2e: TestRefusals TestSoakTimingOfForbidden",
	},
	{
		"Identity and policy", "a revoked secret that comes back by a race",
		"caches are fenced by changes, and a use is judged again before it is sent and while it goes on",
		"internal/fence: TestNoGetAfterAChangeGivesAnOlderValue TestALoadThatAChangeFellIntoIsDoneAgain; internal/proxy: TestAFillThatFinishesAfterARevokeRevivesNothing TestAStreamEndsWhenItsLeaveIsTakenAway TestASlowBodyDoesNotOutliveTheLeaveToSendIt TestSoakRaceOfUseAndRevokeIsLinearizable TestARevokedCallerIsRefusedByTheNextRequest TestAUseEndsWhenItsProofIsTakenBack TestAUseThatCannotBeJudgedHoldsUpNoRevocation",
	},
	{
		"Identity and policy", "a caller that pretends to be another",
		"proofs only, no forwarded field and no source address; certificates and JWTs are judged for each request; two proofs of two callers are refused",
		"internal/identity: TestAClientCertificateProvesItsCallerOrIsRefused TestAResumedSessionIsJudgedAnew TestAWrongJWTProvesNobody TestAJWTForOthersDoesNotHold TestTwoJWTsOfTwoCallersAreRefused TestRootAndTheServerItselfAreNobodysCaller FuzzJWT TestATokenProvesItsCallerWhileBothLive TestTheFixedCallerMustBeThereAndLive TestAPeerProvesTheCallerOfItsUserOrGroup TestOnlyTheKindsThatAreConfiguredAreLookedAt TestARevocationListCountsAsSoonAsItIsRead TestWycheproofJWS TestWycheproofSignatures; internal/proxy: TestRefusalsOnBothEngines TestAllProofsOfARequestMustNameOneCaller TestProofsOfATunnelAndWhatIsInItMustNameOneCaller; test/e2e: TestClientCertificates TestUnixPeers TestCallersByJWT",
	},
	{
		"Identity and policy", "a request out of TLS early data, sent once more", "early data is not taken",
		"caddymodule: TestNoRequestIsTakenFromEarlyData",
	},
	{
		"Identity and policy", "an acting user that nobody asserted, or asserted before",
		"a signed assertion for this caller, with our audience and a short life, that counts once",
		"internal/identity: TestAnAssertionThatDoesNotHold TestAnAssertionThatCannotBeJudged TestNoAssertionIsOlderThanItMayLive TestTheIDOfAnAssertion; test/e2e: TestActingUsers TestActingUsersInATunnel TestAStreamEndsWithItsUsersGrant; internal/sqlstore: TestSpender; test/fleet: TestAnAssertionCountsOnceInAFleet",
	},
	{
		"Identity and policy", "a rule widened to collect a secret", "widening needs the secret again",
		"internal/custody: TestWideningNeedsTheSecret TestATrialIsForNarrowing; policy: TestWidens TestWidensMissesNothing",
	},
	{
		"Availability", "floods of connections, heads, frames; clients that wait",
		"limits of time and size, of how many may wait, and of what a known caller may ask; who waits longest leaves first",
		"test/abuse: TestHonestRequestsAreServedUnderSiege; caddymodule: TestTheLongestWaitingLeaves TestTheCrowdIsThatOfTheServer TestTheHeadOfARequestIsNotWaitedForLong TestWhoWaitsAtTheAdminHandlerIsOfTheCrowdToo; internal/proxy: TestAnAppThatStallsInATunnelIsLetGo TestADestinationThatDoesNotReadHoldsNoDrainUp TestACallerThatAsksTooOftenIsToldWhenToComeBack TestOneStalledDestinationDoesNotTakeEverything TestAPlaceIsGivenBackHoweverTheRequestEnds TestACallerMayHaveAsManyTunnelsAsRequests; test/e2e: TestLimitsOfACaller TestAFloodOfUnknownTokens",
	},
	{
		"Availability", "crash, full disk, parts that are away",
		"what is not recorded is not sent; what was acknowledged is kept; see reliability.md",
		"internal/proxy: TestNothingIsSentThatTheAuditLogDoesNotHold TestAStoreThatCannotAnswerRefuses; internal/fence: TestFiveThousandWhoWaitAskOnce TestAKnownChangeHoldsThroughAnyAbsence; test/e2e: TestFullDisk TestAuditToFullDevice",
	},
}
