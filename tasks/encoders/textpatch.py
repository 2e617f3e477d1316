from __future__ import annotations

import hashlib
import re

import numpy as np

from storage.records import *


class TextPatchEncoder:
    name="text-patch"; dim=128; needs_words=True; needs_image=False; needs_gpu=False; needs_statistics=True
    def fingerprint(self): return "standin-1"
    def terms(self,t): return re.findall(r"[a-z0-9]+",t.lower())
    def _v(self,w):
        r=np.random.default_rng(int.from_bytes(hashlib.blake2b(w.encode(),digest_size=8).digest(),"little")); v=r.standard_normal(128); return v/np.linalg.norm(v)
    def encode_pages(self,pages):
        out=[]; cache={}
        for p in pages:
            a=p.height_pt/p.width_pt; cols=max(4,round((768/a)**.5)); rows=max(4,round(768/cols))
            m=np.zeros((rows,cols,128))
            for w in p.words:
                for t in self.terms(w.text):
                    if t not in cache: cache[t]=self._v(t)
                    m[int(min(w.y0*rows,rows-1)):int(np.ceil(w.y1*rows)),int(min(w.x0*cols,cols-1)):int(np.ceil(w.x1*cols))]+=cache[t]
            n=np.linalg.norm(m,axis=2).ravel(); k=n>1e-9
            v=(m.reshape(-1,128)[k]/n[k][:,None]).astype(np.float32)
            c=np.full(rows*cols,-1,np.int32); c[k]=np.arange(k.sum())
            out.append(PageEncoding(rows,cols,v.reshape(-1,128),c))
        return out
    def encode_queries(self,qs,st):
        o=[]
        for q in qs:
            t=tuple(dict.fromkeys(self.terms(q)))
            if not t: raise ValueError(f"query {q!r} has no term")
            w=np.array([np.log(1+(st.n_pages if st else 1)/(1+(st.document_frequency.get(x,0) if st else 0))) for x in t],np.float32)+.01
            o.append(QueryEncoding(t,np.array([self._v(x) for x in t],np.float32),w,np.ones(len(t),bool)))
        return o
