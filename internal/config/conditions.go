package config

// conditionWord says how a condition is read.
type conditionWord struct {
	kind     ConditionKind
	use      use
	operand  bool // it has one
	optional bool // which may be left out
	regex    bool // which may be "regex ..."
}

// whenConditions are those of built-in filters and of "when". The last two
// are ours.
var whenConditions = map[string]conditionWord{
	"auth":      {kind: CondAuth, use: useUser, operand: true, optional: true, regex: true},
	"fcrdns":    {kind: CondFcrdns},
	"helo":      {kind: CondHelo, use: useDomain, operand: true, regex: true},
	"mail-from": {kind: CondMailFrom, use: useMailAddr, operand: true, regex: true},
	"rcpt-to":   {kind: CondRcptTo, use: useMailAddr, operand: true, regex: true},
	"rdns":      {kind: CondRdns, use: useDomain, operand: true, optional: true, regex: true},
	"src":       {kind: CondSrc, use: useNetAddr, operand: true, regex: true},
	"tag":       {kind: CondTag, use: useString, operand: true, regex: true},
	"tls":       {kind: CondTLS},
}

// matchConditions are those of match; "for" and "from" go on below.
var matchConditions = map[string]conditionWord{
	"auth":      whenConditions["auth"],
	"for":       {},
	"from":      {},
	"helo":      whenConditions["helo"],
	"mail-from": whenConditions["mail-from"],
	"rcpt-to":   whenConditions["rcpt-to"],
	"tag":       whenConditions["tag"],
	"tls":       whenConditions["tls"],
}

var forConditions = map[string]conditionWord{
	"any":     {kind: CondForAny},
	"domain":  {kind: CondForDomain, use: useDomain, operand: true, regex: true},
	"local":   {kind: CondForLocal},
	"rcpt-to": {kind: CondForRcptTo, use: useMailAddr, operand: true, regex: true},
}

var fromConditions = map[string]conditionWord{
	"any":       {kind: CondFromAny},
	"auth":      {kind: CondFromAuth, use: useUser, operand: true, optional: true, regex: true},
	"local":     {kind: CondFromLocal},
	"mail-from": {kind: CondFromMailFrom, use: useMailAddr, operand: true, regex: true},
	"rdns":      {kind: CondFromRdns, use: useDomain, operand: true, optional: true, regex: true},
	"socket":    {kind: CondFromSocket},
	"src":       {kind: CondFromSrc, use: useNetAddr, operand: true, regex: true},
}

// condition reads `[!] WORD [[regex] OPERAND]`, where WORD is one of words.
func (p *parser) condition(words map[string]conditionWord) Condition {
	start := p.i
	c := Condition{Pos: p.peek().pos, Not: p.accept("!")}
	t := p.next()
	w, ok := words[t.text]
	if ok && !t.quoted && t.kind == tokWord && w.kind == 0 {
		// for and from: the next word says of what.
		words = forConditions
		if t.text == "from" {
			words = fromConditions
		}
		t = p.next()
		w, ok = words[t.text]
	}
	if !ok || t.quoted || t.kind != tokWord {
		p.expected(t, sortedKeys(words)...)
		return c
	}
	c.Kind = w.kind
	if w.operand {
		c.Regex = w.regex && p.accept("regex")
		if c.Regex {
			w.use = useRegexp
		}
		if c.Regex || !w.optional || p.isOperand() {
			c.Operand = p.operand(w.use)
		}
	}
	c.Text = textOf(p.toks[start:p.i])
	return c
}

func (k ConditionKind) isFor() bool { return CondForAny <= k && k <= CondForRcptTo }

func (k ConditionKind) isFrom() bool { return CondFromAny <= k && k <= CondFromSrc }
