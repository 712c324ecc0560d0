"""The report's style sheet: system fonts, light and dark, and on paper.

Colours are some that the colour-blind tell apart (Okabe and Ito), and never the only sign: the canary's lines are
thicker than stable's, and outcomes have icons and words.
"""

STYLE = """
:root{--paper:#fff;--ink:#1b1f24;--soft:#59636e;--rule:#d8dee4;--stable:#0072b2;--canary:#d55e00;--other:#777;
--good:#137a4b;--bad:#b42318;--wait:#8a6100}
@media(prefers-color-scheme:dark){:root{--paper:#0f1318;--ink:#e6eaf0;--soft:#98a2ae;--rule:#2b333d;--stable:#56b4e9;
--canary:#f0a35e;--other:#999;--good:#4cc38a;--bad:#ff7a6b;--wait:#e0b03c}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:940px;margin:0 auto;padding:32px 20px 64px}
h1{margin:0;font-size:26px}h2{margin:36px 0 8px;font-size:18px}h3{margin:20px 0 4px;font-size:15px}
p{margin:4px 0 8px}.id,.none,small{color:var(--soft)}
.badge{padding:2px 10px;border-radius:12px;border:1px solid currentColor;font-size:14px;vertical-align:4px}
.badge{color:var(--wait)}
.badge.promoted{color:var(--good)}.badge.rolled_back,.badge.aborted,.badge.failed{color:var(--bad)}
table{border-collapse:collapse;width:100%;font-size:13px}
th{text-align:left;color:var(--soft);font-weight:500}
th,td{padding:4px 14px 4px 0;border-bottom:1px solid var(--rule);vertical-align:top}
.facts td{overflow-wrap:anywhere}.facts th{width:130px}
.readings td,.events td:first-child{font-variant-numeric:tabular-nums}
.readings td:nth-child(-n+7),.changes td:nth-child(-n+2),.events td:nth-child(-n+2){white-space:nowrap}
.scroll{overflow-x:auto}
tr.pass td:first-child{color:var(--good)}tr.fail td:first-child,tr.warning td{color:var(--bad)}
tr.continue td:first-child,tr.insufficient td:first-child{color:var(--wait)}tr.transition td{font-weight:600}
figure{margin:12px 0 20px}figcaption{display:flex;justify-content:space-between;font-weight:500}
.legend span{margin-left:14px;font-size:13px;color:var(--soft)}
.legend span:before{content:"";display:inline-block;width:18px;margin-right:6px;vertical-align:4px;
border-top:3px solid var(--other)}
.legend .stable:before{border-color:var(--stable)}.legend .canary:before{border-color:var(--canary)}
.legend .stable:before{border-top-width:2px}.legend .canary:before{border-top-width:5px}
.legend .dashed:before{border-top-style:dashed}
svg{display:block;width:100%;height:auto}
svg text{fill:var(--soft);font:11px system-ui,sans-serif}
svg .grid{stroke:var(--rule)}svg .mark{stroke:var(--soft);stroke-dasharray:2 3}svg text.mark{stroke:none}
svg path{fill:none;stroke:var(--other);stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
svg path.stable{stroke:var(--stable);stroke-width:1.5}svg path.canary{stroke:var(--canary);stroke-width:3.5}
svg .dashed{stroke-dasharray:5 4}
svg path.band{stroke:none;opacity:.2}svg path.band.stable{fill:var(--stable)}svg path.band.canary{fill:var(--canary)}
svg line.level{stroke:var(--bad)}svg text.level{fill:var(--bad)}
details{margin:6px 0 14px}summary{cursor:pointer;color:var(--soft);font-size:13px}
@media print{main{max-width:none;padding:0}figure,tr{break-inside:avoid}h2,h3,summary{break-after:avoid}
.scroll{overflow:visible}.readings td,.events td{white-space:normal!important;overflow-wrap:anywhere}
details::details-content{content-visibility:visible;block-size:auto;opacity:1}}
"""
