"""Concepts: what people commonly ask of each other, and its words in seven languages.

One entry a concept: its name, then its words in English, Korean, Chinese, Japanese, Spanish, German and French. Words
of several parts have underscores. English endings need no line of their own (see `text.stem`). The table is general
vocabulary of kinds of work; it knows no agent, and an agent that it has no words for is found by its spelling.
A word that several entries claim belongs to the first of them; a form of it that only one spells belongs to that one.

Concepts have *families*: who can code can debug. And some words are only *hints*: `fix`, `develop`, `error` and
`market` mean a kind of work beside other words of it, and many other things elsewhere. Names of capabilities are
believed; in a message a hint counts when something else speaks of its family too (`mentioned`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from aicp_router.matching import verbs
from aicp_router.matching.text import Run, runs, stem

_TABLE = """
analysis: analysis analyses analytics analyze analyse analyzing analyst analytical trend insight | 분석 추세 | 分析
  趋势 | 分析 解析 傾向 | analisis analizar | analyse analysieren auswertung | analyse analyser
data: data dataset table csv spreadsheet excel | 데이터 자료 엑셀 | 数据 表格 | データ 表計算 | datos | daten
  tabelle | donnees tableau
statistics: statistics statistical regression average median forecast probability | 통계 평균 예측 확률 | 统计 平均
  预测 概率 | 統計 予測 確率 | estadistica estadisticas | statistik | statistique statistiques
visualization: visualization visualisation visualize chart graph plot dashboard diagram | 시각화 차트 그래프
  대시보드 도표 | 可视化 图表 仪表盘 | 可視化 グラフ チャート 図表 | visualizacion grafico | visualisierung diagramm
  | visualisation graphique
database: database sql query postgres mysql schema | 데이터베이스 쿼리 질의 | 数据库 查询 | データベース クエリ |
  base_de_datos consulta | datenbank abfrage | base_de_donnees requete
coding: coding code coder program programming programmer software developer development implement implementation
  function python javascript java typescript rust golang algorithm script refactoring refactor pull_request
  merge_request git github repository codebase source_code compiler parser mobile_app web_app | 코딩 코드
  프로그래밍 프로그램 개발 구현 함수 파이썬 알고리즘 소프트웨어 리팩터링 리팩토링 | 编程 代码 程序 开发 实现 函数
  算法 软件 编码 重构 | コーディング コード プログラミング プログラム 開発 実装 関数 アルゴリズム ソフトウェア |
  codigo programacion programar desarrollo | programmierung programmieren entwicklung quellcode | programmation
  programmer developpement logiciel
debugging: debugging debug bug bugs error exception traceback stack_trace segfault crash fix fault | 디버깅
  디버그 버그 오류 에러 고쳐 예외 | 调试 报错 错误 修复 | デバッグ バグ エラー 不具合 修正 | depurar depuracion error
  | fehler fehlersuche beheben | deboguer debogage erreur bogue
testing: testing test tests qa unittest unit_test test_suite regression_test coverage | 테스트 시험
  품질보증 | 测试 | テスト 試験 | prueba pruebas |
  testen tests prufung | tester tests essai
review: review reviewer critique feedback inspect | 검토 리뷰 점검 | 审查 评审 审阅 检查 | レビュー 査読 点検 |
  revision revisar | uberprufung begutachtung durchsicht | relecture examen revue
design: design designer layout mockup wireframe prototype colour color typography logo | 디자인 설계 배치
  와이어프레임 색상 로고 시안 | 设计 布局 配色 原型 线框 | デザイン 設計 レイアウト 配色 試作 | diseno disenar |
  gestaltung entwurf entwerfen | conception maquette
interface: ux ui usability interface frontend screen page button user_experience user_interface | 인터페이스 사용성
  화면 버튼 사용자경험 | 界面 页面 易用 交互 用户体验 按钮 | インターフェース 画面 使いやすさ ボタン | interfaz
  pantalla usabilidad | oberflache benutzeroberflache bedienbarkeit | interface ecran ergonomie
writing: writing write writer draft essay article blog copywriting copywriter content author | 글쓰기 작문 작성 문구
  블로그 기사 초안 | 写作 文案 撰写 文章 博客 起草 | 執筆 文章 作文 記事 ブログ 下書き | escribir escritura redactar
  redaccion | schreiben schreib schreibe text verfassen | ecrire redaction rediger
creative: creative story stories poem poetry slogan fiction novel lyrics tagline | 창작 이야기 소설 슬로건 가사 동화
  | 创意 故事 小说 诗 广告语 口号 歌词 童话 | 創作 物語 小説 詩 スローガン 歌詞 童話 | creativo cuento poema
  historia novela | kreativ geschichte gedicht roman | creatif histoire poeme conte roman
editing: editing edit editor proofread proofreading grammar rewrite paraphrase spelling | 교정 교열 편집 문법 맞춤법
  퇴고 | 校对 编辑 润色 语法 改写 | 校正 編集 文法 推敲 校閲 | editar edicion corregir gramatica | korrektur
  lektorat bearbeiten grammatik | correction corriger grammaire
translation: translation translate translator translating localization localisation interpreter | 번역 통역 영어로
  한국어로 일본어로 중국어로 현지화 | 翻译 译成 译为 口译 本地化 译文 | 翻訳 通訳 英訳 和訳 ローカライズ |
  traduccion traducir traductor | ubersetzung ubersetzen ubersetzer dolmetscher
  | traduction traduire traduis traduisez traducteur
language: language languages linguistic multilingual english korean chinese japanese french german spanish
  vocabulary | 언어 어학 영어 한국어 중국어 일본어 단어 | 语言 英语 英文 中文 韩语 日语 法语 | 言語 語学 英語 日本語
  中国語 韓国語 | idioma lenguaje lengua | sprache sprachen | langue langues
summary: summary summarize summarise summarization summarisation digest abstract recap tldr key_points | 요약 정리해
  간추려 요점 | 总结 摘要 概括 要点 | 要約 まとめ 概要 | resumen resumir | zusammenfassung zusammenfassen | resume
  resumer synthese
research: research researcher paper papers literature academic study scholar investigate investigation survey
  journal | 연구 논문 조사 문헌 학술 리서치 | 研究 论文 文献 调研 学术 综述 | 研究 論文 文献 調査 学術 リサーチ |
  investigacion investigar articulo_cientifico | forschung recherche studie literatur | recherche etude litterature
citation: citation citations cite citing source reference references fact_checking fact_check verify bibliography |
  출처 인용 사실_확인 팩트체크 참고문헌 | 引用 出处 来源 核实 事实核查 参考文献 | 出典 引用 事実確認 裏付け 参考文献
  | cita fuente verificar referencias | quelle zitat faktencheck beleg | citation source verifier verification
planning: planning plan planner schedule roadmap timeline milestone organize organise agenda | 계획 일정 기획 로드맵
  | 计划 规划 排期 日程 安排 | 計画 予定 日程 企画 スケジュール | planificacion planificar plan calendario | planung
  planen zeitplan | planification planifier calendrier
coordination: coordination coordinate coordinator project_management project_manager project manager meeting minutes
  task tasks team risk | 조율 프로젝트 회의 회의록 담당자 팀 위험 관리자 | 协调 项目 会议 任务 团队 风险 纪要 | 調整
  プロジェクト 会議 議事録 担当 チーム リスク | coordinacion proyecto reunion equipo | koordination projekt
  besprechung aufgabe | coordination projet reunion equipe
legal: legal law lawyer attorney contract clause terms_of_service lawsuit litigation patent copyright | 법률 법적
  법무 계약 계약서 조항 변호사 소송 약관 특허 저작권 | 法律 合同 条款 律师 法务 诉讼 协议 专利 版权 | 法律 法務 契約
  条項 弁護士 訴訟 規約 特許 著作権 | legal ley contrato abogado clausula | recht rechtlich vertrag anwalt klausel |
  juridique droit contrat avocat clause
compliance: compliance regulation regulatory gdpr privacy policy policies | 규정 준수 컴플라이언스 개인정보 규제
  처리방침 | 合规 法规 隐私 监管 政策 | 遵守 規制 コンプライアンス 個人情報 法令 | cumplimiento normativa privacidad
  | einhaltung vorschrift datenschutz | conformite reglementation confidentialite
security: security secure vulnerability vulnerabilities exploit penetration hacking malware phishing threat
  encryption password breach access_control injection | 보안 취약점 해킹 위협 암호화 비밀번호 권한 악성코드 침투 |
  安全 漏洞 黑客 威胁 加密 密码 访问控制 注入 渗透 权限 | セキュリティ 脆弱性 脅威 暗号 パスワード 権限 侵入 安全 |
  seguridad vulnerabilidad amenaza contrasena | sicherheit schwachstelle bedrohung verschlusselung passwort |
  securite vulnerabilite menace chiffrement
audit: audit auditor auditing inspection | 감사 감리 점검 | 审计 审核 稽核 评估 | 監査 点検 | auditoria auditor |
  revision prufung | audit auditeur
devops: devops deployment deploy docker kubernetes container ci cd pipeline helm terraform release rollout |
  데브옵스 배포 도커 쿠버네티스 컨테이너 파이프라인 | 部署 运维 容器 流水线 发布 | デプロイ 展開 コンテナ
  パイプライン 運用 | despliegue desplegar contenedor | bereitstellung ausrollen container | deploiement deployer
  conteneur
infrastructure: infrastructure server servers cloud aws azure gcp linux ssh network networking hosting monitoring
  alert dns | 인프라 서버 클라우드 네트워크 모니터링 호스팅 | 基础设施 服务器 云 网络 监控 报警 主机 | インフラ
  サーバー サーバ クラウド ネットワーク 監視 | infraestructura servidor nube red | infrastruktur rechenzentrum
  netzwerk uberwachung | infrastructure serveur reseau supervision
finance: finance financial money stock stocks investment invest investor trading fund funds portfolio market crypto
  cryptocurrency bitcoin loan mortgage bank bond dividend | 금융 재무 투자 주식 펀드 대출 은행 자산 코인 환율 | 金融
  财务 投资 股票 基金 贷款 银行 回报 资产 | 金融 財務 投資 株式 株価 融資 銀行 資産 | finanzas inversion acciones
  banco dinero | finanzen geldanlage aktien investition bank | finance investissement bourse banque argent
accounting: accounting accountant budget budgeting tax taxes bookkeeping invoice expense expenses salary payroll |
  회계 예산 세금 소득세 장부 송장 비용 급여 세무 | 会计 预算 税 账 发票 费用 工资 | 会計 予算 税金 税務 帳簿 請求書
  経費 給与 | contabilidad presupuesto impuesto factura | buchhaltung haushalt steuer steuern rechnung |
  comptabilite budget impot facture
marketing: marketing advertising advertisement ad campaign brand branding seo promotion keyword | 마케팅 광고 홍보
  브랜드 캠페인 | 营销 广告 推广 品牌 市场营销 | マーケティング 広告 宣伝 ブランド 販促 | mercadeo publicidad
  anuncio marca | werbung marketing anzeige marke | publicite marketing annonce marque
sales: sales sell selling seller lead customer revenue crm | 판매 영업 매출 고객 | 销售 客户 营业额 | 販売 営業 売上
  顧客 | ventas vender cliente | vertrieb verkauf kunde umsatz | vente vendre client
support: support helpdesk customer_service troubleshooting ticket complaint | 고객지원 지원센터 상담 문의 | 客服
  支持 售后 | サポート 問い合わせ 対応 | soporte atencion_al_cliente | kundendienst unterstutzung | assistance
  support_client
education: education teach teaching teacher tutor learn learning course lesson school university student exam
  homework quiz | 교육 학습 강의 수업 학교 대학 학생 시험 숙제 과외 | 教育 学习 课程 教学 学校 大学 学生 考试 作业 |
  教育 学習 講座 授業 学校 大学 学生 試験 宿題 | educacion ensenar curso escuela aprender | bildung unterricht kurs
  schule lernen | education enseigner cours ecole apprendre
health: health medical medicine doctor disease symptom clinical patient hospital therapy mental drug diagnosis |
  건강 의료 의학 의사 질병 증상 병원 환자 진단 약 | 健康 医疗 医学 医生 疾病 症状 医院 患者 诊断 药 | 健康 医療 医学
  医者 病気 症状 病院 患者 診断 薬 | salud medico enfermedad hospital sintoma | gesundheit medizin arzt krankheit |
  sante medical medecin maladie
fitness: fitness exercise workout gym training yoga running calorie weight | 운동 헬스 체력 요가 다이어트 | 健身
  运动 锻炼 瑜伽 减肥 | 運動 筋トレ ヨガ フィットネス ダイエット | ejercicio entrenamiento gimnasio | sport ubung
  training | exercice entrainement
food: food recipe recipes cook cooking meal diet nutrition restaurant restaurants dinner lunch breakfast dish
  cuisine ingredient grocery wine | 음식 요리 조리법 식당 레시피 식단 영양 맛집 재료 | 食物 菜谱 烹饪 餐厅 美食 营养
  食谱 食材 | 料理 食べ物 レシピ 食事 栄養 献立 | comida receta cocinar restaurante cocina | essen rezept kochen
  ernahrung | cuisine recette cuisiner nourriture repas
travel: travel trip flight flights hotel hotels vacation holiday tourism tourist itinerary airport airline
  destination visa accommodation | 여행 항공 호텔 관광 휴가 숙소 비행기 | 旅行 旅游 航班 酒店 机票 行程 | 旅行 観光
  航空 ホテル 飛行機 旅程 宿 | viaje viajar vuelo turismo | reise reisen flug urlaub | voyage vol hotel vacances
  tourisme
weather: weather temperature rain snow forecast climate storm humidity sunny | 날씨 기온 비가 눈이 기상 일기예보
  기후 | 天气 气温 下雨 预报 气候 | 天気 気温 天気予報 気象 気候 | clima tiempo temperatura lluvia | wetter
  temperatur regen | meteo temperature pluie climat
shopping: shopping shop buy purchase product products price prices store discount coupon deal cheap compare retailer
  | 쇼핑 구매 상품 제품 가격 할인 쿠폰 | 购物 购买 商品 产品 价格 折扣 优惠 | 買い物 購入 商品 製品 価格 割引 通販 |
  compras comprar producto precio tienda descuento | einkaufen kaufen produkt preis rabatt | achat acheter produit
  prix magasin reduction
jobs: job jobs career hiring hire recruit recruiting recruitment resume cv interview employment employer vacancy
  candidate talent | 채용 구직 취업 이력서 면접 직업 인사 경력 | 招聘 求职 简历 面试 工作机会 职业 就业 | 求人 採用
  就職 履歴書 面接 転職 職業 | empleo trabajo contratar curriculum entrevista | stelle bewerbung lebenslauf beruf
  karriere | emploi recrutement entretien carriere
music: music song songs playlist melody album singer concert audio chord | 음악 노래 곡 가수 작곡 앨범 | 音乐 歌曲
  歌手 作曲 专辑 | 音楽 曲 歌手 作曲 | musica cancion cantante | musik lied | musique chanson
video: video videos film movie movies youtube clip animation cinema subtitle episode | 비디오 영상 동영상 영화
  유튜브 자막 | 视频 电影 影片 动画 字幕 | 動画 映像 映画 ビデオ 字幕 | video pelicula cine | video film kino |
  video film cinema
image: image images picture photo photos photograph drawing illustration art artwork paint vision visual
  object_detection camera | 이미지 사진 그림 일러스트 비전 물체 | 图片 图像 照片 绘画 插图 视觉 物体 | 画像 写真 絵
  イラスト 物体 | imagen foto dibujo ilustracion | bild bilder foto zeichnung | image photo dessin illustration
recognition: ocr recognition recognize detect detection scan scanned handwriting extract extraction classify
  classification | 인식 글자 스캔 추출 분류 감지 | 识别 扫描 提取 分类 检测 | 認識 文字起こし スキャン 抽出 分類
  検出 | reconocimiento detectar extraer clasificar | erkennung erkennen extrahieren | reconnaissance detecter
  extraire
speech: speech voice transcription transcribe dictation pronunciation podcast | 음성 목소리 받아쓰기 녹취 팟캐스트
  발음 | 语音 声音 转写 播客 发音 | 音声 声 文字起こし ポッドキャスト 発音 | voz transcripcion | stimme
  transkription aussprache | voix transcription
math: math maths mathematics mathematical equation calculate calculation calculator algebra geometry calculus
  arithmetic | 수학 방정식 계산 대수 기하 | 数学 方程 计算 代数 几何 | 数学 方程式 計算 代数 幾何 | matematicas
  ecuacion calcular | mathematik gleichung berechnen rechnen | mathematiques equation calculer
science: science scientific physics chemistry biology astronomy experiment space planet | 과학 물리 화학 생물 천문
  실험 우주 | 科学 物理 化学 生物 天文 实验 宇宙 | 科学 物理 化学 生物 天文 実験 宇宙 | ciencia fisica quimica
  biologia | wissenschaft physik chemie biologie | science physique chimie biologie
news: news headline headlines newspaper politics political election government current_events | 뉴스 신문 정치 선거
  정부 속보 | 新闻 报纸 政治 选举 政府 | ニュース 新聞 政治 選挙 政府 | noticias periodico politica gobierno |
  nachrichten zeitung politik wahl | actualites journal politique gouvernement
games: game games gaming gamer play player puzzle quest | 게임 놀이 퍼즐 | 游戏 玩家 谜题 | ゲーム 遊び パズル |
  juego juegos jugador | spiel spiele spieler | jeu jeux joueur
sports: sport sports football soccer basketball baseball tennis match league score tournament fixture | 스포츠 축구
  야구 농구 경기 리그 | 体育 足球 篮球 比赛 联赛 球队 | スポーツ サッカー 野球 試合 リーグ | deporte futbol
  baloncesto partido liga | sport fussball spiel liga | sport football match ligue
property: property house houses home apartment rent rental real_estate estate housing landlord | 부동산 아파트 주택
  임대 전세 월세 | 房产 房地产 房屋 公寓 租房 租金 | 不動産 住宅 賃貸 家賃 物件 | inmobiliaria casa piso alquiler
  vivienda | immobilien wohnung haus miete | immobilier maison appartement loyer
calendar: calendar appointment reminder event events booking reservation reserve invite | 캘린더 약속 알림 예약 행사
  | 日历 预约 提醒 预订 活动 | カレンダー 予約 リマインダー 行事 | cita reserva recordatorio evento | kalender
  termin erinnerung buchung | agenda rendez_vous rappel reservation
email: email emails mail inbox newsletter letter sms | 이메일 메일 편지 문자메시지 | 邮件 邮箱 信件 短信 | メール
  手紙 | correo carta | mail brief nachricht | courriel lettre
document: document documents pdf docx presentation slides powerpoint form file files report notes | 문서 서류
  발표자료 슬라이드 보고서 파일 | 文档 文件 演示 幻灯片 报告 | 文書 書類 資料 スライド 報告書 ファイル | documento
  presentacion archivo informe | dokument prasentation datei bericht | document presentation fichier rapport
web: web website site url webpage html browser domain link links scrape scraping crawl internet online | 웹 웹사이트
  홈페이지 브라우저 링크 도메인 인터넷 | 网站 网页 浏览器 链接 域名 互联网 | ウェブ サイト ブラウザ リンク ドメイン
  | sitio web pagina_web navegador enlace | webseite internetseite browser | site navigateur lien
search: search searching browse lookup retrieve retrieval discover | 검색 찾아 조회 | 搜索 查找 检索 搜寻 | 検索
  探して 調べて | buscar busqueda | suche suchen | rechercher chercher
reasoning: reasoning logic logical think thinking problem_solving decision strategy brainstorm brainstorming | 추론
  논리 문제해결 전략 의사결정 | 推理 逻辑 思考 策略 决策 | 推論 論理 思考 戦略 意思決定 | razonamiento logica
  estrategia | logik denken strategie | raisonnement logique strategie
modelling: machine_learning deep_learning neural classifier ai_model training_model llm prompt
  artificial_intelligence | 머신러닝 기계학습 딥러닝 인공지능 신경망 | 机器学习 深度学习 人工智能 神经网络 强化学习
  | 機械学習 深層学習 人工知能 | aprendizaje_automatico inteligencia_artificial | maschinelles_lernen
  kunstliche_intelligenz | apprentissage_automatique intelligence_artificielle
transport: car cars vehicle driving drive traffic train bus route map maps navigation distance parking | 자동차 차량
  운전 교통 기차 버스 지도 길찾기 | 汽车 车辆 驾驶 交通 火车 公交 地图 导航 | 車 自動車 運転 交通 電車 バス 地図 |
  coche vehiculo trafico tren mapa | auto fahrzeug verkehr zug karte | voiture vehicule trafic train carte
fashion: fashion clothes clothing outfit dress wear shirt shoes style makeup beauty cosmetics apparel | 패션 옷 의류
  신발 화장 코디 | 时尚 衣服 服装 鞋 化妆 穿搭 | ファッション 服 靴 化粧 | moda ropa zapatos belleza | mode kleidung
  schuhe | mode vetement chaussures
social: social social_media twitter instagram facebook tiktok linkedin post posts follower hashtag influencer | 소셜
  인스타그램 트위터 게시물 | 社交 微博 社交媒体 | ソーシャル 投稿 | redes_sociales publicacion | soziale_medien
  beitrag | reseaux_sociaux publication
"""


FAMILIES = {
    "code": ("coding", "debugging", "testing", "devops"),
    "data": ("analysis", "statistics", "visualization", "data", "database"),
    "languages": ("translation", "language"),
    "words": ("writing", "creative", "editing", "summary", "email"),
    "sources": ("research", "citation"),
    "plans": ("planning", "coordination", "calendar"),
    "law": ("legal", "compliance"),
    "money": ("finance", "accounting"),
    "screens": ("design", "interface"),
    "market": ("marketing", "sales", "social"),
}
"""Concepts of one trade: who does one of them is no stranger to the others."""

_FAMILY_OF = {concept: family for family, members in FAMILIES.items() for concept in members}

_HINT_WORDS = """
book brief container coverage crash develop driving error exception fault fix form home implement lead market match mode
note play plot post program project reference score source strategy style table task team test text thinking tiempo
train wear weight
auto bank fehler karte marke reise spiel termin wahl zug argent carte casa droit partido piso
고쳐 오류 에러 개발 약 错误 修复 开发 测试 发布 修正 エラー 運用
"""
_HINTS = frozenset(_HINT_WORDS.split())
"""Words of the table that have other everyday meanings."""


@dataclass(frozen=True, slots=True)
class _Word:
    """What a word of the table stands for."""

    concept: str
    proper: bool
    """Whether it is the concept's name in its language, or a form of it; otherwise it is only near it."""


@dataclass(frozen=True, slots=True)
class Split:
    """A text taken apart."""

    concepts: tuple[str, ...]
    """In their order, each once."""
    proper: frozenset[str]
    """Those that are named, not only hinted at."""
    rest: tuple[str, ...]
    """Words that belong to no concept, without stop words."""
    words: tuple[tuple[str, str], ...]
    """Each concept with each word that speaks of it, as it is written there."""


def _lines(table: str) -> list[str]:
    """The lines of the table; what is indented goes on from the line before."""
    return table.replace("\n ", " ").strip().splitlines()


def _read(table: str) -> tuple[dict[tuple[str, ...], _Word], dict[str, _Word], dict[str, _Word]]:
    by_parts: dict[tuple[str, ...], _Word] = {}
    spelt: dict[str, _Word] = {}
    dense: dict[str, _Word] = {}
    for line in _lines(table):
        concept, _, languages = line.partition(":")
        for words in languages.split("|"):
            head = words.split()[0]
            for word in words.split():
                parts = tuple(word.split("_"))
                is_dense = runs(word)[0].dense
                beginning = head[: 2 if is_dense else 4]
                found = _Word(concept, word.startswith(beginning))
                if is_dense:
                    dense.setdefault("".join(parts), found)
                else:
                    by_parts.setdefault(tuple(map(stem, parts)), found)
                    spelt.setdefault(word, found)
    return by_parts, dense, spelt


_BY_PARTS, _DENSE, _SPELT = _read(_TABLE)
_LONGEST_FROM: dict[str, int] = {}
for _parts in _BY_PARTS:
    _LONGEST_FROM[_parts[0]] = max(len(_parts), _LONGEST_FROM.get(_parts[0], 0))
_LONGEST_DENSE = max(map(len, _DENSE))

NAMES = frozenset(line.partition(":")[0] for line in _lines(_TABLE))
"""All concepts."""


def family(concept: str) -> str:
    """The family of a concept; one that has none is its own."""
    return _FAMILY_OF.get(concept, concept)


def concepts(text: str) -> tuple[str, ...]:
    """The concepts that a name or a list of them speaks of, in their order, each once. Where words overlap, the longest
    wins."""
    return split(text).concepts


@lru_cache(maxsize=1_024)
def mentioned(text: str) -> tuple[str, ...]:
    """The same of running text, where a hint counts only beside another word of its family: one that is no hint, or,
    when all are hints, a second one."""
    return _kept(split(text), _HINTS)


@lru_cache(maxsize=1_024)
def described(text: str) -> tuple[str, ...]:
    """The same of what somebody says of itself, where verbs alone are hints, unless nothing else is said: who writes
    code writes no letters."""
    taken = split(text)
    return _kept(taken, verbs.ALL) or taken.concepts


def _kept(taken: Split, hints: frozenset[str]) -> tuple[str, ...]:
    if not taken.words:
        return ()
    sure = {family(concept) for concept, word in taken.words if not _is_of(hints, word)}
    clear = {family(concept) for concept, word in taken.words if not (word in verbs.ALL or _is_of(hints, word))}
    if not clear:
        # Hints alone: each needs a second one.
        words = {family(concept): set[str]() for concept, _ in taken.words}
        for concept, word in taken.words:
            words[family(concept)].add(word)
        clear = {name for name, several in words.items() if len(several) > 1}
    return tuple(concept for concept in taken.concepts if family(concept) in clear | sure)


def _is_of(words: frozenset[str], written: str) -> bool:
    """Whether a word or, where the table does not spell it, its stem is one of `words`: `crashes` is `crash`, but
    `marketing` is no `market`."""
    return written in words or (written not in _SPELT and stem(written) in words)


@lru_cache(maxsize=1_024)
def split(text: str) -> Split:
    """Takes a text apart into concepts and other words."""
    found = _Found({}, [], [])
    words: list[Run] = []
    for run in runs(text):
        if run.dense:
            _scan_words(words, found)
            words = []
            _scan_dense(run.word, found)
        else:
            words.append(run)
    _scan_words(words, found)
    proper = frozenset(name for name, is_proper in found.concepts.items() if is_proper)
    return Split(tuple(found.concepts), proper, tuple(found.rest), tuple(found.words))


@dataclass(frozen=True, slots=True)
class _Found:
    """What was found so far; see `Split`."""

    concepts: dict[str, bool]
    """Each with whether it is proper."""
    rest: list[str]
    words: list[tuple[str, str]]

    def note(self, word: _Word, written: str) -> None:
        self.concepts[word.concept] = self.concepts.get(word.concept, False) or word.proper
        self.words.append((word.concept, written))


def _scan_words(words: Sequence[Run], found: _Found) -> None:
    place = 0
    while place < len(words):
        run = words[place]
        longest = _LONGEST_FROM.get(run.stem)
        length = _note_longest(words[place : place + longest], found) if longest else 0
        if not length and not run.is_common:
            found.rest.append(run.stem)
        place += length or 1


def _note_longest(words: Sequence[Run], found: _Found) -> int:
    """Note the longest beginning of these words that the table has.

    Returns:
        Of how many words it is; 0 when it has none.
    """
    for length in range(len(words), 0, -1):
        word = _BY_PARTS.get(tuple([run.stem for run in words[:length]]))
        if word is not None:
            # `marketing` is not the market whose stem it has.
            if length == 1:
                word = _SPELT.get(words[0].word, word)
            found.note(word, "_".join([run.word for run in words[:length]]))
            return length
    return 0


def _scan_dense(run: str, found: _Found) -> None:
    place = start = 0
    while place < len(run):
        for length in range(min(_LONGEST_DENSE, len(run) - place), 0, -1):
            word = _DENSE.get(run[place : place + length])
            if word is not None:
                found.note(word, run[place : place + length])
                if start < place:
                    found.rest.append(run[start:place])
                place += length
                start = place
                break
        else:
            place += 1
    if start < len(run):
        found.rest.append(run[start:])
