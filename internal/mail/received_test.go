package mail

import (
	"testing"
	"time"
)

func TestReceived(t *testing.T) {
	base := Received{
		Helo: "client.example.net", Rdns: "localhost", Source: "127.0.0.1", Host: "mx.example.test",
		Extended: true, ID: 0x77096564, Time: testTime,
	}
	const date = ";\n\tMon, 2 Nov 2026 10:55:05 +0000 (UTC)\n"
	for _, tc := range []struct {
		name   string
		change func(r *Received)
		want   string
	}{
		{"one recipient", func(r *Received) { r.For = Address{"alice", "example.test"} },
			"Received: from client.example.net (localhost [127.0.0.1])\n\tby mx.example.test (weir) with ESMTP id 77096564\n\tfor <alice@example.test>" + date},
		{"several recipients", func(r *Received) {},
			"Received: from client.example.net (localhost [127.0.0.1])\n\tby mx.example.test (weir) with ESMTP id 77096564" + date},
		{"HELO, no name, IPv6", func(r *Received) { r.Extended, r.Rdns, r.Source = false, "", "[::1]" },
			"Received: from client.example.net (<unknown> [::1])\n\tby mx.example.test (weir) with SMTP id 77096564" + date},
		{"TLS and AUTH", func(r *Received) { r.TLS, r.Auth = "TLSv1.3:TLS_AES_256_GCM_SHA384:256", true },
			"Received: from client.example.net (localhost [127.0.0.1])\n\tby mx.example.test (weir) with ESMTPSA id 77096564 (TLSv1.3:TLS_AES_256_GCM_SHA384:256:NO)" + date},
		{"verified client", func(r *Received) { r.TLS, r.Verified, r.UTF8 = "TLSv1.3:x:256", true, true },
			"Received: from client.example.net (localhost [127.0.0.1])\n\tby mx.example.test (weir) with UTF8SMTPS id 77096564 (TLSv1.3:x:256:YES)" + date},
		{"local socket", func(r *Received) {
			r.Helo, r.Rdns, r.Source, r.Auth = "localhost", "mx.example.test", "local", true
		},
			"Received: from localhost (mx.example.test [local])\n\tby mx.example.test (weir) with ESMTPA id 77096564" + date},
		{"masked source", func(r *Received) { r.MaskSource, r.ID = true, 0xf },
			"Received: \n\tby mx.example.test (weir) with ESMTP id 0000000f" + date},
		{"no line of the client's own", func(r *Received) { r.Rdns, r.Helo = "a\r\nb", "c\x00\x7f" },
			"Received: from c?? (a??b [127.0.0.1])\n\tby mx.example.test (weir) with ESMTP id 77096564" + date},
	} {
		r := base
		tc.change(&r)
		if got := string(r.Append([]byte("x"))); got != "x"+tc.want {
			t.Errorf("%s:\n got %q\nwant %q", tc.name, got, "x"+tc.want)
		}
	}
}

func TestAppendDate(t *testing.T) {
	zone := time.FixedZone("CEST", 2*3600)
	if got, want := string(AppendDate(nil, testTime.In(zone))), "Mon, 2 Nov 2026 12:55:05 +0200 (CEST)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
