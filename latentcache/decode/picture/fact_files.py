"""One small drawn picture in each format whose decoder may round otherwise in its next release."""

from base64 import b85decode

FILES = {
    "avif": b85decode(
        "0000WW^{RQVRmU|00000VRmU|ZE0pPZE0a<O+hh20002%ZDn*}000000000XXk=`10000000000aA{+7000000"
        "000000000000004sdC7Z2$lO000310016oY;R)#0000)000310RR910RR926951Jx&QzGC~0YKW&i*H0003100"
        "0_kZf0cy000000RRADb}%tRZ)|UJ00000YH4tCZ~y=ROKEUpZvX%Q6lrsCWdHyG000007ytkO5C8xG5O8UDX#f"
        "BK00RgJ2mk;83}JRLLxBJc000006Ju{|a&BX6cmM$a4FCp!0000NX>e^}0000000001009I60)qqq006>mWMOm"
        "?0162h5by1f5YT8qGO7U=hlhqCf{-"
        "8vPyhe`An|dExr`6YudYWj%=?OE6qtR6QQ|U!g`wX*hX*y7&?ihUt($rxb2T<ybz{<u`Q?R>G=Q3Q5G0Y`1L*-"
        "S_I@M3(!qKQ>U}1F_TE3)9XU!CElZ(IL%4dAygO57?0N>EtNikI^}$8YwbWWt(}kf;XvOklzny`?Sv$+`JkPMY"
        "+Ki57cR@uW7*{f)vHX&P!<fYcs^95khy"
    ),
    "cmyk": b85decode(
        "|JeWT01iQ9Z(?NtWB>pF0095n07C!}3k(hn3J?wr4iXU%6BsBO7#0>7F(V}%C^|DeJUKHsH$X^SPC!IgMK?H5Z"
        "BbWWVrOV)K233XaAbH~WoKjmzyK5o01yBe1Va%3O%VWD5dcdO0RO}Q8UO$S0|5a50000000000000060R#mH1O"
        "LPTED!(z0|NsB1^@>D00000000330}%iOAq5f>F;NB-"
        "6(T`_VPbKSvBC2H+5ip&LjX+xSpZ7_06zd+@Xe2@YAo7vaq>^QY{UY3eNx-"
        "HaJIKo%0z_5KH`-u>`-i1bmM!{fC(KskUzTU6!7PVy*kxTd9F>7jyRby-lD^f>gfz6m@1s^>?gHdu=MwzOJ10j"
        "k_jbGgn$5&N!yGAMP1XrD|xLS^47ZSwDy#z1)Z9iNk||hxwc1A;Zjg@jCYDFnrN3#SzI@9ZoQ78cB%o15%c&OV"
        "7k%me4706Lw5MyrLSNa5u8S1ymZ#mtp?uJKmm4TZYv2w5eg<}8Qb+VQ-eCa_2XQ35AQ;vM#PWcR$39^JudOJrs"
        "=L=B`Rr4bP18wGCSg>HkOUNhuX6Z4WVfd6%?ft8<m`?MnFja07Y%--xMpxI%-)a-"
        "oow2akVZ4p(phqnEk5z#FaPB9U>A2<bbr500{QTM2x~gSGGwLMSuU<"
    ),
    "jpeg": b85decode(
        "|JeWF01!$>Nk#wx0RR9200961|JwjV01XKW3knDg3knMk4h;_zAQcl55)&sJ9v2`kDKRiEDJ?8BI!Zn>HbyrrE"
        "kIX6ModmpQ&KWMT47pHU`kO^PygEhLjevB4iga*CKVMXPc<zyPft%zPft%zPft%zPft%zPft%zPft%zPft%zPf"
        "t%zPft%zPft%zPft%zPft%zPf!2A01*fP5C9kh0U`hb5di}c0sq7R82|tR0|5X40000000000000050RsdE|HJ"
        "?z5C8!K0|NyC0000000000009C61OO2d1tF0JF*0Fs!T-"
        "bn76AbP0RR910000000000000351^>hVBoP1t00aaF00000000000003300R*r1rjkq6j5P;p~2Dr+5ij#0RRF"
        "K0}%i}0OX<RgB+AL6xJLzi>YiP<ol;BL1nnPNKzYY`7LV10r!frr*tT?5ThZy?T{%dZ~@zLE-"
        "&h*%)|nMw!N$9?MQIkMnlMDWM+HNjWo9W`b5Ul5;ws%`TIp`M^Qoz-"
        "KdgQy{wglq;d(j6j0KqvmB^9&_=|bD6Mk&A7lU7"
    ),
    "jpeg2000": b85decode(
        "0000CYEU2`4GM<}0000KW^{RQYH%_j00000YH%_j0000jYH%`W0000MX=r3}0000G0000O00RdH0000001sntY"
        ";pkr000005C8xG<7#j+WB*V8Q2;Lh000007ytkO5C8xG00000000007ytkO5C8xG000000009A0RaaA0S5sA|5"
        "5-90000100aaC0094703AYaAa4L~0B+!CP-jqQXix=E1yDy<(^u11V*g|SB>(|Ka%Ew3Wn>^?c_2@4Wo}APMMo"
        "fZWpZ<AZ*CwmE;TMR|BwI*0000008#(}|C7fA1);-"
        "&2oT523<mMw!SDqK1OdPb#KHLiLkI@l1AU<2fCC1iAP}CSAP>~SAPZK2rWho=K%y`mKaGH=2xpEg^??7`"
    ),
    "webp": b85decode(
        "Qb|Te`~Uy|S4BclR!}$~@Bjb+PzC^<0V)^(5CA^4NS;ZjBqE_O2ms&~iEIF!GK6p@gE$OaeJ~F|4=JBwf7>84E"
        "t`)dDMKxPPpQxV{`TUP&YKq;v6;)($EaSj`_I`_&#7OTAtLDju_3mGzIGBgCwAGv`S8jYmvPA+G_!QlKB7Ol{$"
        "BPz>xVJF;%m9K+F*M0j#obTq7SkDXLRRU;<r*TH}e5FiwT^1WJ_~M=98~kQm{Dll-"
        "&OQGbdX<fr%1dlK?+kiAmg^q^nLhr}!ZNZ7+ujYSvR9_%j&A|BQ#_L(NE3@6+)IA87GE`3$*n9#wzA6(93(eO&"
        "+m"
    ),
}
"""24x16 px, 8 bits; made by Pillow 13.0.0: lossy, with colours at half the size where the format
has that; ``cmyk`` is a JPEG of four inks."""
